"""An owner's own words: templates, lists of them, and files of them by the hour, read and checked.

What is wrong is one sentence, said before anything is posted.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter

from meshibot.captions.words import SEASONS, WEEKDAYS, Occasion
from meshibot.errors import UsageError
from meshibot.quiet import QuietHours

CAPTION_FIELDS = ("marker", "serial", "time", "date", "subject")
ALT_TEXT_FIELDS = ("subject",)

_KNOWN = {
    **dict.fromkeys(("ja", "jp", "jpn", "ja-jp", "ja_jp", "japanese", "日本語"), "ja"),
    **dict.fromkeys(("en", "eng", "en-us", "en_us", "en-gb", "en_gb", "english", "英語"), "en"),
}
"""What people write where they mean a language."""

_BYTE_ORDER_MARK = "\ufeff"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters, halves of a character (bytes that were no UTF-8), and what X calls invalid."""

# As twitter-text has it (validMentionOrList, endMentionMatch): Japanese before it does not keep a name from
# being one, and a name ends after 20 characters or not at all.
_MENTION = re.compile(
    r"(?:^|[^A-Za-z0-9_!#$%&*@＠]|(?:^|[^A-Za-z0-9_+~.-])(?i:rt):?)[@＠][A-Za-z0-9_]{1,20}+(?![@＠\u00c0-\u024f]|://)"
)
_SAYS_GENERATED = re.compile(
    r"(?<![A-Za-z])(?:A\.?I\.?|GANs?)(?![A-Za-z])|人工知能|ニューラル|生成|artificial|generated|neural|synthetic",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\[\s*([0-9:\s-]+)\]")
_OCCASIONS: dict[str, Occasion] = {
    "new year": "new year",
    **{str(day): day for day in WEEKDAYS},
    **{str(season): season for season in SEASONS},
}


@dataclass(frozen=True)
class Template:
    """One text with fields, and the hours or the occasion for which it is; None is any."""

    text: str
    when: QuietHours | Occasion | None = None


def meant_language(setting: str) -> str | None:
    """`ja` or `en` where a setting that is neither seems to mean it."""
    return _KNOWN.get(setting.strip().casefold())


def read_file(path: Path) -> tuple[Template, ...]:
    """One template a line; `[22:00-05:00]` alone on a line begins those that are for these hours only.

    `[friday]`, `[winter]` and `[new year]` begin those of a weekday, a season, the days around the new year.
    Blank lines, and lines that begin with `# `, say nothing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(
            f"The captions in {path} can't be read ({why}): give a text file in UTF-8."
        ) from error
    found: list[Template] = []
    when: QuietHours | Occasion | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if (heading := _HEADING.fullmatch(line)) is not None:
            when = _hours(heading[1], f"Line {number} of {path}")
        elif line.startswith("[") and line.endswith("]"):
            when = _occasion(line, f"Line {number} of {path}")
        elif line and line != "#" and not line.startswith("# "):
            found.append(Template(line, when))
    if not found:
        raise UsageError(f"{path} holds no caption: write one on each line.")
    _require_every_hour(found, path)
    return tuple(found)


def checked(template: str, fields: Sequence[str], setting: str) -> str:
    """A template that can be filled in, and has its {marker} where that is a field.

    Raises UsageError for fields that there are not, and for what no text can show.
    """
    template = shown(template, setting)
    names = _fields(template, fields, setting)
    return f"{template} {{marker}}" if "marker" in fields and "marker" not in names and template else template


def shown(text: str, what: str) -> str:
    """A text without space around it, nor the byte order mark that an editor may have left.

    Raises UsageError for what no text can show.
    """
    text = text.replace(_BYTE_ORDER_MARK, "").strip()
    if _UNPRINTABLE.search(text):
        raise UsageError(
            f"{what} holds a character that no network shows (a control character, or bytes that are not "
            "UTF-8): write it anew, in UTF-8."
        )
    return text


def says_generated(text: str) -> bool:
    """Whether a text tells its readers that a machine made the picture."""
    return _SAYS_GENERATED.search(text) is not None


def mentions(text: str) -> bool:
    """Whether X would take a part of `text` for the name of an account."""
    return _MENTION.search(text) is not None


def _fields(template: str, fields: Iterable[str], setting: str) -> set[str]:
    """The fields that a template has; UsageError for one that it may not have, or where it can't be read."""
    allowed = ", ".join(f"{{{name}}}" for name in fields)
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(
            f"The template in {setting} can't be read ({error}): it may use {allowed}, and a brace itself is "
            "written {{ or }}."
        ) from error
    for _, name, specification, conversion in parts:
        # Plain names only: an attribute lets a template read into objects, a width lets it fill the memory,
        # and a precision cuts the serial off.
        if name is not None and (name not in fields or specification or conversion):
            added = (f"!{conversion}" if conversion else "") + (f":{specification}" if specification else "")
            raise UsageError(
                f"The template in {setting} has {{{name[:40]}{added[:40]}}}: it may use {allowed}."
            )
    return {name for _, name, _, _ in parts if name is not None}


def _hours(text: str, where: str) -> QuietHours:
    begin_end = "-".join(f"{part.strip()}:00" if ":" not in part else part for part in text.split("-"))
    try:
        return QuietHours.parse(begin_end)
    except UsageError:
        raise UsageError(f"{where} is [{text}]: write hours like [22:00-05:00].") from None


def _require_every_hour(templates: Sequence[Template], path: Path) -> None:
    for moment in _minutes_of_a_day():
        if not any(_serves(template, moment) for template in templates):
            raise UsageError(
                f"{path} has no caption for {moment:%H:%M}: write some above its first [hours], which serve "
                "at any time."
            )


def _serves(template: Template, moment: datetime) -> bool:
    """On any day."""
    return template.when is None or (isinstance(template.when, QuietHours) and moment in template.when)


def _occasion(line: str, where: str) -> Occasion:
    """UsageError for one that there is not: misspelt, it would be said as a caption."""
    occasion = _OCCASIONS.get(" ".join(line[1:-1].lower().split()))
    if occasion is None:
        raise UsageError(
            f"{where} is {line[:40]}: write hours like [22:00-05:00], a weekday like [friday], a season like "
            "[winter], or [new year]."
        )
    return occasion


def _minutes_of_a_day() -> Iterator[datetime]:
    midnight = datetime(2026, 11, 24)
    return (midnight + timedelta(minutes=minute) for minute in range(24 * 60))
