"""When an account posts: `schedule` says it, `planner` writes it down, and a person makes `changes`."""

from meshibot.slots.schedule import (
    AUTO,
    Auto,
    PlannedSlot,
    Schedule,
    at_hours,
    cron_lines,
    plan,
    schedule_of,
)

__all__ = ["AUTO", "Auto", "PlannedSlot", "Schedule", "at_hours", "cron_lines", "plan", "schedule_of"]
