"""The stock: approved pictures that wait to be posted, and how it is filled.

Sampling happens in a child process; its files come into the pictures folder first and into the database then,
so that a row never lacks its file.
"""

import logging
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.clock import Clock, SystemClock
from meshibot.database import Database, Picture, PictureState, Post, PostPicture
from meshibot.database.queries import choose_pictures
from meshibot.errors import NothingToDo
from meshibot.files import sync_folder
from meshibot.sampler import SampledPicture, SamplingRequest, SamplingResult, sample_in_child

log = logging.getLogger(__name__)

RECENT_POSTS = 100
"""New pictures must not look like those of so many last posts, of all accounts."""
_AT_ONCE = 64
"""Pictures that one child makes: what it made is kept even if the next one fails."""


@dataclass(frozen=True)
class Filling:
    """What a filling came to."""

    added: int
    stock: int
    target: int
    candidates: int
    believed: int

    @property
    def acceptance(self) -> float | None:
        """The share of candidates that the critic believed in; None where none was looked at."""
        return self.believed / self.candidates if self.candidates else None


@dataclass(frozen=True)
class Stock:
    """The pictures of one database and home."""

    database: Database
    home: Path
    checkpoint: Path
    min_quantile: float
    clock: Clock = field(default_factory=SystemClock)

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.home / "pictures"

    def file_of(self, picture: Picture) -> Path:
        """The picture's file."""
        return self.home / picture.file

    def count(self) -> int:
        """How many wait."""
        with self.database.read() as session:
            query = select(func.count()).where(Picture.state == PictureState.APPROVED)
            return session.scalar(query) or 0

    def waiting(self) -> list[Picture]:
        """Those that wait, the next one first."""
        with self.database.read() as session:
            query = select(Picture).where(Picture.state == PictureState.APPROVED).order_by(Picture.id)
            return list(session.scalars(query))

    def fill(self, target: int) -> Filling:
        """Sample until `target` pictures wait, as far as candidates pass.

        Raises NothingToDo where not one passed, and what else `sample_in_child` raises.
        """
        before = stock = self.count()
        candidates = believed = 0
        while stock < target:
            wanted = min(target - stock, _AT_ONCE)
            try:
                result = self._sample(wanted)
            except NothingToDo:
                if stock == before:
                    raise
                break
            candidates += result.candidates
            believed += result.believed
            stock = self.count()
            if len(result.pictures) < wanted:
                break
        return Filling(stock - before, stock, target, candidates, believed)

    def ensure(self, account: str, count: int) -> None:
        """Sample `count` pictures if the stock has too few that suit the account; raises as `fill` does."""
        with self.database.read() as session:
            chosen, _ = choose_pictures(session, account, count)
        if not chosen:
            self._sample(count)

    def preview(self, account: str, count: int) -> list[Picture]:
        """The pictures that the next post would take from the stock; empty where it has too few."""
        with self.database.read() as session:
            chosen, _ = choose_pictures(session, account, count)
            return chosen

    def _sample(self, count: int) -> SamplingResult:
        with self.database.read() as session:
            avoid = recent_hashes(session)
        self.folder.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=".sampling-", dir=self.folder))
        try:
            result = sample_in_child(self.request(count, workshop, avoid))
            self._take_in(result)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        log.info(
            "%d pictures sampled, %d of %d candidates scored high enough",
            len(result.pictures), result.believed, result.candidates,
        )  # fmt: skip
        return result

    def request(self, count: int, folder: Path, avoid: Sequence[int] = ()) -> SamplingRequest:
        """What the child is asked for, with a seed of its own."""
        seed = random.SystemRandom().getrandbits(62)
        return SamplingRequest(self.checkpoint, folder, count, self.min_quantile, seed, tuple(avoid))

    def _take_in(self, result: SamplingResult) -> None:
        """Move the files into the folder, make that survive a power cut, then write the rows."""
        for picture in result.pictures:
            picture.file.replace(self.folder / picture.file.name)
        sync_folder(self.folder)
        with self.database.write() as session:
            there = set(
                session.scalars(
                    select(Picture.sha256).where(Picture.sha256.in_([p.sha256 for p in result.pictures]))
                )
            )
            session.add_all(
                self._row(picture, result.checkpoint)
                for picture in result.pictures
                if picture.sha256 not in there
            )

    def _row(self, picture: SampledPicture, checkpoint: str) -> Picture:
        return Picture(
            sha256=picture.sha256,
            checkpoint=checkpoint,
            seed=picture.seed,
            score=picture.score,
            quantile=picture.quantile,
            phash=picture.phash,
            file=f"{self.folder.name}/{picture.file.name}",
            state=PictureState.APPROVED,
            created_at=self.clock.now(),
        )


def recent_hashes(session: Session) -> list[int]:
    """Perceptual hashes of what waits, what is being posted, and what the last posts showed."""
    waiting = select(Picture.phash).where(Picture.state.in_([PictureState.APPROVED, PictureState.RESERVED]))
    last = select(Post.id).order_by(Post.id.desc()).limit(RECENT_POSTS).subquery()
    shown = (
        select(Picture.phash)
        .join(PostPicture, PostPicture.picture_id == Picture.id)
        .join(last, last.c.id == PostPicture.post_id)
    )
    return [*session.scalars(waiting), *session.scalars(shown)]
