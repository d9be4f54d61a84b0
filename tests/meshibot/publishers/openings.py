"""Every publisher opened for a test: a row for each network, beside its row in the registry."""

from collections.abc import Callable, Mapping
from pathlib import Path

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

OPENINGS: Mapping[str, Callable[[Path, FakeX, Fakes], Publisher]] = {
    "bluesky": lambda _, __, fakes: BlueskyPublisher(bluesky.HANDLE, bluesky.PASSWORD, fakes("bluesky").url),
    "folder": lambda folder, *_: FolderPublisher(folder / "posts"),
    "mastodon": lambda _, __, fakes: MastodonPublisher(fakes("mastodon").url, mastodon.TOKEN),
    "misskey": lambda _, __, fakes: MisskeyPublisher(fakes("misskey").url, misskey.TOKEN),
    "toy": lambda folder, *_: ToyPublisher(folder / "board.jsonl", "token", 20),
    "x": lambda _, fake_x, __: XPublisher(CREDENTIALS, api_base=fake_x.url),
}
