"""Every publisher opened for a test: a row for each network, beside its row in the registry."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshibot.publishers.base import Publisher
from meshibot.publishers.bluesky import BlueskyPublisher
from meshibot.publishers.folder import FolderPublisher
from meshibot.publishers.mastodon import MastodonPublisher
from meshibot.publishers.misskey import MisskeyPublisher
from meshibot.publishers.x import XPublisher
from tests.fakes import bluesky, mastodon, misskey
from tests.fakes.network import Fakes
from tests.fakes.x import CREDENTIALS, FakeX
from tests.meshibot.publishers.toy import ToyPublisher

AT: Mapping[str, Callable[..., Publisher]] = {
    "bluesky": lambda url, **how: BlueskyPublisher(bluesky.HANDLE, bluesky.PASSWORD, url, **how),
    "mastodon": lambda url, **how: MastodonPublisher(url, mastodon.TOKEN, **how),
    "misskey": lambda url, **how: MisskeyPublisher(url, misskey.TOKEN, **how),
    "x": lambda url, **how: XPublisher(CREDENTIALS, api_base=url, **how),
}
"""Those on a network that a fake plays, by its address."""

OPENINGS: Mapping[str, Callable[[Path, FakeX, Fakes], Publisher]] = {
    "bluesky": lambda _, __, fakes: at("bluesky", fakes("bluesky").url),
    "folder": lambda folder, *_: FolderPublisher(folder / "posts"),
    "mastodon": lambda _, __, fakes: at("mastodon", fakes("mastodon").url),
    "misskey": lambda _, __, fakes: at("misskey", fakes("misskey").url),
    "toy": lambda folder, *_: ToyPublisher(folder / "board.jsonl", "token", 20),
    "x": lambda _, fake_x, __: at("x", fake_x.url),
}


def at(network: str, url: str, **how: Any) -> Publisher:
    """The publisher of a fake, with the credentials that it knows."""
    return AT[network](url, **how)
