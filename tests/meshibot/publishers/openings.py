"""Every publisher opened for a test: a row for each network, beside its row in the registry."""

from collections.abc import Callable, Mapping
from pathlib import Path

from meshibot.publishers.base import Publisher
from meshibot.publishers.folder import FolderPublisher
from testbed.fakes.network import Fakes
from testbed.fakes.x import FakeX
from testbed.publishers import at
from tests.meshibot.publishers.toy import ToyPublisher

OPENINGS: Mapping[str, Callable[[Path, FakeX, Fakes], Publisher]] = {
    "bluesky": lambda _, __, fakes: at("bluesky", fakes("bluesky").url),
    "folder": lambda folder, *_: FolderPublisher(folder / "posts"),
    "mastodon": lambda _, __, fakes: at("mastodon", fakes("mastodon").url),
    "misskey": lambda _, __, fakes: at("misskey", fakes("misskey").url),
    "toy": lambda folder, *_: ToyPublisher(folder / "board.jsonl", "token", 20),
    "x": lambda _, fake_x, __: at("x", fake_x.url),
}
