"""Where pictures are published: one module or package for each network, found here by name.

A network's module needs none of its network's libraries before a publisher is opened, for every command reads
the settings of all networks.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from meshibot.errors import UsageError

if TYPE_CHECKING:
    from meshibot.publishers.base import Publisher

PUBLISHERS = {
    "bluesky": "meshibot.publishers.bluesky:BlueskyPublisher",
    "folder": "meshibot.publishers.folder:FolderPublisher",
    "mastodon": "meshibot.publishers.mastodon:MastodonPublisher",
    "misskey": "meshibot.publishers.misskey:MisskeyPublisher",
    "x": "meshibot.publishers.x:XPublisher",
}
"""Every network: its name in MESHIBOT_PUBLISHER, and where its class is."""


def publisher_class(name: str) -> "type[Publisher]":
    """The class of a publisher, for its settings, limits and prices. UsageError for a name that is none."""
    if name not in PUBLISHERS:
        raise UsageError(
            f"There is no publisher {name!r}: set MESHIBOT_PUBLISHER to {' or '.join(PUBLISHERS)}."
        )
    module, _, attribute = PUBLISHERS[name].partition(":")
    found: type[Publisher] = getattr(import_module(module), attribute)
    return found
