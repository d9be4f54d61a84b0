"""An owner's words: files of them by the hour and the occasion, and what no template may hold."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.captions import load_captions
from meshibot.captions.own import CAPTION_FIELDS, checked, read_file
from meshibot.errors import UsageError

NIGHT = datetime(2026, 11, 24, 23, 30)


FILE = """\ufeff# mine
AI bowl at any time

[22-5]
AI bowl for the night
# nobody sees this
#飯テロ AI {marker}
[12:30-13:15]
AI bowl for lunch
"""


def test_a_file_has_lines_by_the_hour(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text(FILE, "utf-8")
    captions = load_captions(file)

    def said(hour: int, minute: int = 0) -> set[str]:
        at = NIGHT.replace(hour=hour, minute=minute)
        return {captions.caption(serial, at).split(" No.")[0] for serial in range(20)}

    assert said(9) == {"AI bowl at any time"}
    assert said(13) == {"AI bowl at any time", "AI bowl for lunch"}
    assert said(13, 15) == {"AI bowl at any time"}
    assert said(3) == said(22) == {"AI bowl at any time", "AI bowl for the night", "#飯テロ AI"}


def test_a_file_has_lines_by_the_weekday_and_the_season(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("any AI\n[ Tuesday ]\ntuesday AI\n[winter]\nwinter AI\n[New  Year]\nnew AI\n", "utf-8")
    captions = load_captions(file)
    for at, words in (
        (NIGHT, {"any", "tuesday"}),
        (NIGHT + timedelta(days=1), {"any"}),
        (datetime(2026, 12, 31, 23), {"any", "winter", "new"}),
    ):
        assert {captions.caption(serial, at).split()[0] for serial in range(12)} == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[monday]\nAI\n", "has no caption for 00:00"),
        (None, "can't be read"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"# only a remark\n", "holds no caption"),
        (b"[22-5]\nAI night\n", "has no caption for 05:00"),
        (b"AI\n[25-30]\nAI night\n", "Line 2 of .* write hours like"),
        (b"AI {chef}\n", "{chef}"),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(tmp_path: Path, text: bytes | None, says: str) -> None:
    file = tmp_path / "lines.txt"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(UsageError, match=says) as refused:
        load_captions(file)
    assert "\n" not in str(refused.value)


def test_a_heading_that_is_misspelt_is_not_said_as_a_caption(tmp_path: Path) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("Ramen by AI\n[friady]\nFriday's ramen by AI\n", "utf-8")
    with pytest.raises(
        UsageError, match=r"Line 2 of .* is \[friady\]: write hours .* a weekday like \[friday\]"
    ):
        load_captions(file)


def test_what_is_a_remark_a_heading_or_a_caption(tmp_path: Path) -> None:
    file = tmp_path / "captions.txt"
    file.write_text(
        "#\n# a remark\n#飯テロ\n  \n[AI] bowl\nbowl [AI]\n[ 22 - 5:30 ]\n[AI] at night\n", "utf-8"
    )
    found = read_file(file)
    assert [template.text for template in found] == ["#飯テロ", "[AI] bowl", "bowl [AI]", "[AI] at night"]
    assert [str(template.when) for template in found] == ["None", "None", "None", "22:00-05:30"]


@given(st.text(max_size=20) | st.text("{}!:markes.[]0 ", max_size=12))
def test_a_template_is_refused_or_can_be_filled_in(template: str) -> None:
    try:
        kept = checked(template, CAPTION_FIELDS, "MESHIBOT_CAPTIONS")
    except UsageError:
        return
    filled = kept.format(**{name: f"<{name}>" for name in CAPTION_FIELDS})
    assert not kept or "<marker>" in filled
    assert filled == filled.strip()


@pytest.mark.parametrize("template", ["{marker!r}", "{serial:4}", "{time!s:>9}", "{chef}"])
def test_a_field_that_is_refused_is_shown_as_it_was_written(template: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked(template, CAPTION_FIELDS, "MESHIBOT_CAPTIONS")
    assert f" has {template}: it may use {{marker}}, {{serial}}, " in str(refused.value)
