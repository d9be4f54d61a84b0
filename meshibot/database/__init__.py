"""What the bot remembers: accounts, pictures, slots, posts and attempts, in SQLite or PostgreSQL."""

from meshibot.database.models import (
    Account,
    AccountState,
    Attempt,
    Daemon,
    Event,
    Notice,
    Outcome,
    Phase,
    Picture,
    PictureState,
    Post,
    PostMetrics,
    PostPicture,
    PostState,
    Slot,
    SlotState,
    Verdict,
)
from meshibot.database.session import Database

__all__ = [
    "Account",
    "AccountState",
    "Attempt",
    "Daemon",
    "Database",
    "Event",
    "Notice",
    "Outcome",
    "Phase",
    "Picture",
    "PictureState",
    "Post",
    "PostMetrics",
    "PostPicture",
    "PostState",
    "Slot",
    "SlotState",
    "Verdict",
]
