"""What the bot remembers: accounts, pictures, slots, posts and attempts, in SQLite or PostgreSQL."""

from meshibot.database.models import (
    Account,
    AccountState,
    Attempt,
    Daemon,
    Kind,
    Outcome,
    Phase,
    Picture,
    PictureState,
    Post,
    PostPicture,
    PostState,
    Slot,
    SlotState,
)
from meshibot.database.session import Database

__all__ = [
    "Account",
    "AccountState",
    "Attempt",
    "Daemon",
    "Database",
    "Kind",
    "Outcome",
    "Phase",
    "Picture",
    "PictureState",
    "Post",
    "PostPicture",
    "PostState",
    "Slot",
    "SlotState",
]
