"""Moments as pages show them: on the clocks of an account, and how far away they are."""

from datetime import date, datetime, tzinfo

from meshibot.web.words import MONTHS, WEEKDAYS, Language, say


def moment(language: Language, at: datetime, zone: tzinfo, now: datetime) -> str:
    """Such as `27 Nov 23:00`; with the year where that is another one."""
    local = at.astimezone(zone)
    other_year = local.year != now.astimezone(zone).year
    return f"{day(language, local.date(), year=other_year)} {local:%H:%M}"


def day(language: Language, when: date, *, year: bool = False) -> str:
    """Such as `27 Nov`."""
    if language == "ja":
        return f"{when.year}年{when.month}月{when.day}日" if year else f"{when.month}月{when.day}日"
    name = MONTHS[when.month - 1][:3]
    return f"{when.day} {name} {when.year}" if year else f"{when.day} {name}"


def weekday(language: Language, when: date) -> str:
    """Such as `Fri`."""
    return WEEKDAYS[language][when.weekday()]


def month(language: Language, when: date) -> str:
    """Such as `November 2026`."""
    return f"{when.year}年{when.month}月" if language == "ja" else f"{MONTHS[when.month - 1]} {when.year}"


def distance(language: Language, at: datetime, now: datetime) -> str:
    """Such as `in 3 h`."""
    seconds = (at - now).total_seconds()
    minutes = abs(seconds) / 60
    if minutes < 1:
        return say(language, "now")
    ahead = seconds > 0
    if minutes < 90:
        return say(language, "in_minutes" if ahead else "minutes_ago", n=round(minutes))
    if minutes < 36 * 60:
        return say(language, "in_hours" if ahead else "hours_ago", n=round(minutes / 60))
    return say(language, "in_days" if ahead else "days_ago", n=round(minutes / 1440))
