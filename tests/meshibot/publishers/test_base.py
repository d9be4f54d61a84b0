"""What a publisher is given survives storage, and what it would not take is said in a sentence."""

import json
from datetime import UTC
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshibot.publishers.base import Draft, Facet, Limits, MediaRef, Price, Visibility, too_long
from meshibot.publishers.folder import FolderPublisher
from meshibot.publishers.x import XPublisher

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
NUMBERS = st.integers(0, 10_000)

FACETS = st.builds(Facet, st.sampled_from(["link", "tag"]), NUMBERS, NUMBERS, TEXT)
DRAFTS = st.builds(
    Draft,
    account=TEXT,
    serial=NUMBERS,
    marker=TEXT,
    caption=TEXT,
    alt_text=TEXT,
    media=st.lists(TEXT.filter(lambda text: "\0" not in text).map(Path), max_size=2).map(tuple),
    metadata=st.dictionaries(TEXT, NUMBERS | TEXT | st.none(), max_size=2),
    created_at=st.none() | MOMENTS,
    slot=st.none() | TEXT,
    language=st.none() | st.sampled_from(["ja", "en"]),
    visibility=st.sampled_from(get_args(Visibility)),
    sensitive=st.booleans(),
    facets=st.lists(FACETS, max_size=2).map(tuple),
)


@given(DRAFTS)
def test_a_draft_is_the_same_after_it_was_stored(draft: Draft) -> None:
    assert Draft.from_json(json.loads(json.dumps(draft.to_json()))) == draft


@given(st.builds(MediaRef, TEXT, st.none() | MOMENTS, st.none() | st.dictionaries(TEXT, NUMBERS | TEXT)))
def test_a_media_reference_is_the_same_after_it_was_stored(reference: MediaRef) -> None:
    assert MediaRef.from_json(json.loads(json.dumps(reference.to_json()))) == reference


def test_a_draft_of_an_older_version_still_opens() -> None:
    """What it does not say is as it was before there was such a field."""
    stored = {"account": "main", "serial": 1, "marker": "No.0001", "caption": "", "alt_text": "", "media": []}
    assert Draft.from_json(stored) == Draft("main", 1, "No.0001", "", "", ())
    with pytest.raises(ValueError, match="serial"):
        Draft.from_json(stored | {"serial": "none"})


def test_a_caption_that_is_too_long_is_told_how_it_is_counted() -> None:
    assert too_long(XPublisher, "麺" * 140) is None
    assert too_long(XPublisher, "麺" * 141) == (
        "weighs 282 of the 280 that X allows (a Japanese character or an emoji counts 2)"
    )
    assert too_long(FolderPublisher, "麺" * 10_000) is None


def test_a_link_has_a_price_of_its_own() -> None:
    price = Price(post=0.015, link=0.2, alt_text=0.005)
    assert price.of_post(with_link=False) == 0.02
    assert price.of_post(with_link=True) == pytest.approx(0.205)
    assert Price().of_post(with_link=True) == 0


def test_an_opened_publisher_has_the_limits_of_its_server(tmp_path: Path) -> None:
    publisher = FolderPublisher(tmp_path)
    assert publisher.limits is FolderPublisher.limits
    publisher.limits = Limits(None, 1, 1, 1, 1, ())
    assert FolderPublisher.limits.media == FolderPublisher(tmp_path).limits.media == 4
