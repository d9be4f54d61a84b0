"""Where pictures are published: one module for each network, found here by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshibot.errors import UsageError
from meshibot.publishers.credentials import OAuth1Credentials

if TYPE_CHECKING:
    from meshibot.publishers.base import Publisher

NAMES = ("folder", "x")


def publisher_class(name: str) -> type[Publisher]:
    """The class of a publisher, for its limits and prices. Raises UsageError for a name that is none."""
    # Imported by need: tweepy is not for a daemon that only waits, nor for one that posts to a folder.
    if name == "folder":
        from meshibot.publishers.folder import FolderPublisher

        return FolderPublisher
    if name == "x":
        from meshibot.publishers.x import XPublisher

        return XPublisher
    raise UsageError(f"There is no publisher {name!r}: set MESHIBOT_PUBLISHER to {' or '.join(NAMES)}.")


def open_publisher(
    name: str,
    *,
    folder: Path,
    x_credentials: OAuth1Credentials | None = None,
    x_api_base: str | None = None,
) -> Publisher:
    """A publisher ready for use; the caller closes it. Raises UsageError for wrong settings."""
    if name == "x":
        from meshibot.publishers.x import XPublisher

        return XPublisher(x_credentials or OAuth1Credentials("", "", "", ""), api_base=x_api_base)
    if name == "folder":
        from meshibot.publishers.folder import FolderPublisher

        return FolderPublisher(folder)
    raise UsageError(f"There is no publisher {name!r}: set MESHIBOT_PUBLISHER to {' or '.join(NAMES)}.")
