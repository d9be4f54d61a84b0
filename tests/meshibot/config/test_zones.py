"""The machine's time zone, with a name and without one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from meshibot.config.cautions import cautions
from meshibot.config.layers import load_settings
from meshibot.config.zones import agrees_with_machine, machine_zone

SUMMER, WINTER = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("rule", "summer", "winter"),
    [
        ("Asia/Tokyo", 9, 9),
        (":Asia/Tokyo", 9, 9),
        ("JST-9", 9, 9),
        ("<+09>-9", 9, 9),
        ("EST5EDT,M3.2.0,M11.1.0", -4, -5),
    ],
)
def test_it_is_as_late_as_the_machine_says(
    restored: pytest.MonkeyPatch, rule: str, summer: int, winter: int
) -> None:
    restored.setenv("TZ", rule)
    time.tzset()
    zone = machine_zone()
    assert zone.key == rule.removeprefix(":")
    assert agrees_with_machine(zone)
    assert SUMMER.astimezone(zone).utcoffset() == timedelta(hours=summer)
    assert WINTER.astimezone(zone).utcoffset() == timedelta(hours=winter)


def test_a_zone_that_can_not_be_told_is_said(restored: pytest.MonkeyPatch) -> None:
    restored.setenv("TZ", "ABC-9DEF")  # summer time without its dates: each library has its own
    time.tzset()
    (account,) = load_settings().accounts
    assert account.timezone.key == "UTC"
    (said,) = cautions(account)
    assert "goes by UTC: set MESHIBOT_TIMEZONE" in said
    restored.setenv("MESHIBOT_TIMEZONE", "UTC")
    (account,) = load_settings().accounts
    assert list(cautions(account)) == []
