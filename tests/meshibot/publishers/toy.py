"""A network of one file: a board in the bot's home, which counts words and wants a token.

Nothing but this file and a line in the registry makes it a publisher: see test_toy.py.
"""

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from meshibot.errors import UsageError
from meshibot.publishers.base import (
    Count,
    Draft,
    Fence,
    Idempotency,
    Identity,
    Limits,
    MediaRef,
    Price,
    Remark,
    Sent,
    Visibility,
    contains_marker,
    read_picture,
    require_within_limits,
    unfenced,
)
from meshibot.publishers.settings import AccountSecret, PublisherSettings


class ToySettings(PublisherSettings):
    """A token, and how many words the board takes."""

    toy_token: AccountSecret = Field(default=None, description="the token that the board's owner gave you")
    toy_words: int = Field(default=20, ge=1, description="a whole number of words")


class ToyPublisher:
    """Posts become lines of `board.jsonl`."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "the board"
    settings: ClassVar[type[PublisherSettings]] = ToySettings
    idempotency: ClassVar[Idempotency] = "reconcile"
    visibilities: ClassVar[tuple[Visibility, ...]] = ("public",)
    marks_sensitive: ClassVar[bool] = False
    price: ClassVar[Price] = Price(post=0.5, link=2.0)
    limits = Limits(
        caption=20,
        alt_text=500,
        media=1,
        image_bytes=1_000_000,
        image_side=1024,
        media_types=("image/jpeg",),
    )

    def __init__(self, board: Path, token: str, words: int) -> None:
        self.board = board
        self.token = token
        self.limits = dataclasses.replace(type(self).limits, caption=words)

    @classmethod
    def open(cls, account: ToySettings, home: Path) -> "ToyPublisher":
        """With the account's token. UsageError where it is missing."""
        (token,) = account.required(cls.title, ("toy_token",), "ask the board's owner")
        return cls(home / "board.jsonl", token, account.toy_words)

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """Words."""
        limit = limits.caption or 0
        return (Count(len(caption.split()), limit, "words", "has {used} of the {limit} words"),)

    @staticmethod
    def has_link(caption: str) -> bool:
        """Only what says so."""
        return "toy://" in caption

    def post_url(self, remote_id: str) -> str:
        """The board has addresses of its own."""
        return f"toy://board/{remote_id}"

    def named(self, said: str) -> Sent:
        """By its number or its address."""
        number = said.strip().removeprefix("toy://board/")
        if not number.isdigit():
            raise UsageError(f"{said!r} is no post on the board: give its number.")
        return Sent(number, self.post_url(number))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """The board takes a picture's length for the picture."""
        require_within_limits(self, draft)
        (file,) = draft.media
        data, media_type = read_picture(self, file)
        return (MediaRef(file.name, data={"bytes": len(data), "type": media_type}),)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Write the line."""
        require_within_limits(self, draft, media)
        posts = self.posts()
        line = {"text": draft.caption, "by": self.token, "media": media[0].to_json()}
        fence()
        with self.board.open("a") as file:
            file.write(json.dumps(line) + "\n")
        number = str(len(posts) + 1)
        return Sent(number, self.post_url(number))

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """Read the board."""
        return tuple(
            Sent(str(number), self.post_url(str(number)))
            for number, post in enumerate(self.posts(), start=1)
            if contains_marker(str(post["text"]), draft.marker)
        )

    def latest(self, count: int) -> tuple[str, ...]:
        """The last lines."""
        return tuple(str(post["text"]) for post in reversed(self.posts()))[:count]

    def delete(self, remote_id: str) -> None:
        """Wipe the text."""
        lines = [
            {"text": ""} if str(number) == remote_id else post
            for number, post in enumerate(self.posts(), start=1)
        ]
        self.board.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def check(self) -> Identity:
        """The board knows everybody."""
        return Identity("7", "toy", "toy://board")

    def remarks(self) -> tuple[Remark, ...]:
        """Everything is known of the board."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""

    def posts(self) -> list[dict[str, object]]:
        """What is on the board."""
        if not self.board.exists():
            return []
        return [json.loads(line) for line in self.board.read_text().splitlines()]
