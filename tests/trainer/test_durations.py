"""Lengths of time in two units at most."""

import pytest

from trainer.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m 00s"),
        (750, "12m 30s"),
        (3_600, "1h 00m"),
        (11_100, "3h 05m"),
        (86_400, "1d 0h"),
        (187_300, "2d 4h"),
    ],
)
def test_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
