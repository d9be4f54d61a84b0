"""The publisher of each network, opened at a fake of it."""

from collections.abc import Callable, Mapping
from typing import Any

from meshibot.publishers.base import Publisher
from meshibot.publishers.bluesky import BlueskyPublisher
from meshibot.publishers.mastodon import MastodonPublisher
from meshibot.publishers.misskey import MisskeyPublisher
from meshibot.publishers.x import XPublisher
from testbed.fakes import bluesky, mastodon, misskey
from testbed.fakes.x import CREDENTIALS

AT: Mapping[str, Callable[..., Publisher]] = {
    "bluesky": lambda url, **how: BlueskyPublisher(bluesky.HANDLE, bluesky.PASSWORD, url, **how),
    "mastodon": lambda url, **how: MastodonPublisher(url, mastodon.TOKEN, **how),
    "misskey": lambda url, **how: MisskeyPublisher(url, misskey.TOKEN, **how),
    "x": lambda url, **how: XPublisher(CREDENTIALS, api_base=url, **how),
}
"""By the fake's address."""


def at(network: str, url: str, **how: Any) -> Publisher:
    """The publisher of a fake, with the credentials that it knows."""
    return AT[network](url, **how)
