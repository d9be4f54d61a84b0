"""The stock: approved pictures that wait to be posted, and how it is filled.

Sampling happens in a child process; its files come into the pictures folder first and into the database then,
so that a row never lacks its file.
"""

import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from meshibot.clock import Clock, SystemClock
from meshibot.database import Database, Picture, PictureState, Post, PostPicture
from meshibot.database.queries import choose_pictures
from meshibot.errors import MeshibotError, NothingToDo
from meshibot.plural import counted
from meshibot.stock.inventory import fault_of, is_lost, set_aside, waiting
from meshibot.stock.lock import only_sampler
from meshibot.stock.sampler import SampledPicture, SamplingRequest, SamplingResult, sample_in_child
from trainer.files import sync_folder

log = logging.getLogger(__name__)

RECENT_POSTS = 100
"""New pictures must not look like those of so many last posts, of all accounts."""
AFTER_FAILURE = timedelta(hours=1)
LEFTOVER_AFTER = timedelta(days=1)
MEDIA_KEPT = timedelta(days=30)
"""What was rendered for a post can be rendered again; it is kept for a look at what was posted lately."""
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
        """The share of candidates that scored high enough; None where none was looked at."""
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

    def count(self) -> int:
        """How many wait."""
        with self.database.read() as session:
            query = select(func.count()).where(Picture.state == PictureState.APPROVED)
            return session.scalar(query) or 0

    def fill(self, target: int, stopping: Callable[[], bool] = lambda: False) -> Filling:
        """Sample until `target` pictures wait, as far as candidates pass.

        Raises NothingToDo where not one passed, and what else `sample_in_child` raises.
        """
        added = candidates = believed = 0

        def full() -> bool:
            if stopping():
                raise MeshibotError("Sampling was stopped.")
            return self.count() >= target

        while self.count() < target:
            # Two that fill at once make what is missing, once: the second counts again when its turn comes.
            with only_sampler(self.home, self.clock.sleep, full) as mine:
                if not mine:
                    break
                wanted = min(target - self.count(), _AT_ONCE)
                try:
                    result = self._sample(wanted, stopping)
                except NothingToDo:
                    if added == 0:
                        raise
                    break
            added += len(result.pictures)
            candidates += result.candidates
            believed += result.believed
            if len(result.pictures) < wanted:
                break
        return Filling(added, self.count(), target, candidates, believed)

    def ensure(
        self, account: str, count: int, preferred: str | None = None, *, no_others: bool = False
    ) -> None:
        """Sample `count` pictures if the stock has too few that suit the account; raises as `fill` does.

        `preferred` is the SHA-256 of the checkpoint whose pictures come first, or with `no_others` alone.
        """

        def enough() -> bool:
            while True:
                with self.database.read() as session:
                    chosen = choose_pictures(
                        session, account, count, preferred=preferred, no_others=no_others
                    ).pictures
                if not self._set_aside(chosen, fault_of):
                    return bool(chosen)

        if enough():
            return
        with only_sampler(self.home, self.clock.sleep, enough) as mine:
            made = len(self._sample(count).pictures) if mine else count
        if made < count:
            raise NothingToDo(
                f"Only {made} of {count} pictures passed: they are in the stock; try again, or lower "
                "MESHIBOT_MIN_QUANTILE."
            )

    def weed(self) -> int:
        """Take pictures out of the stock whose files are gone, so that others are made; how many."""
        return self._set_aside(waiting(self.database), is_lost)

    def _set_aside(self, pictures: Iterable[Picture], fault: Callable[[Path], str | None]) -> int:
        """Take those of the pictures out of the stock that have a fault; how many.

        Where the whole folder is missing a disk may be: then nothing is taken out.
        """
        if not self.folder.is_dir():
            return 0
        found = [(picture.id, fault(self.home / picture.file)) for picture in pictures]
        faults = [(picture, says) for picture, says in found if says is not None]
        for picture, says in faults:
            log.warning("Picture %d is taken out of the stock: %s", picture, says)
        return set_aside(self.database, faults) if faults else 0

    def sweep(self) -> None:
        """Remove what a killed sampling left behind, and rendered files that were posted long ago."""
        now = self.clock.now().timestamp()
        for leftover in self.folder.glob(".sampling-*"):
            with suppress(OSError):  # another process may sweep at the same time
                if leftover.stat().st_mtime < now - LEFTOVER_AFTER.total_seconds():
                    shutil.rmtree(leftover, ignore_errors=True)
        for media in (self.home / "media").glob("*.*"):
            if media.suffix in (".jpg", ".gif"):
                with suppress(OSError):
                    if media.stat().st_mtime < now - MEDIA_KEPT.total_seconds():
                        media.unlink()

    def _sample(self, count: int, stopping: Callable[[], bool] = lambda: False) -> SamplingResult:
        with self.database.read() as session:
            avoid = hashes_to_avoid(session)
        self.folder.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=".sampling-", dir=self.folder))
        request = sampling_request(self.checkpoint, self.min_quantile, count, workshop, avoid)
        try:
            result = sample_in_child(request, stopping=stopping)
            self._take_in(result)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        log.info(
            "%s sampled, %d of %d candidates scored high enough",
            counted(len(result.pictures), "picture"), result.believed, result.candidates,
        )  # fmt: skip
        return result

    def _take_in(self, result: SamplingResult) -> None:
        """Move the files into the folder, make that survive a power cut, then write the rows."""
        for picture in result.pictures:
            picture.file.replace(self.folder / picture.file.name)
        sync_folder(self.folder)
        now = self.clock.now()
        with self.database.write() as session:
            there = set(
                session.scalars(
                    select(Picture.sha256).where(Picture.sha256.in_([p.sha256 for p in result.pictures]))
                )
            )
            session.add_all(
                picture_of(picture, result.checkpoint, f"{self.folder.name}/{picture.file.name}", now)
                for picture in result.pictures
                if picture.sha256 not in there
            )


def sampling_request(
    checkpoint: Path, min_quantile: float, count: int, folder: Path, avoid: Sequence[int]
) -> SamplingRequest:
    """What a child is asked for, with a seed that no other call has."""
    seed = random.SystemRandom().getrandbits(62)
    return SamplingRequest(checkpoint, folder, count, min_quantile, seed, tuple(avoid))


def picture_of(sampled: SampledPicture, checkpoint: str, file: str, now: datetime) -> Picture:
    """The row of a sampled picture, not yet in any database."""
    return Picture(
        sha256=sampled.sha256,
        checkpoint=checkpoint,
        seed=sampled.seed,
        score=sampled.score,
        quantile=sampled.quantile,
        phash=sampled.phash,
        file=file,
        state=PictureState.APPROVED,
        created_at=now,
    )


@dataclass
class Restocker:
    """Keeps a daemon's stock full; after a failure it waits: sampling is dear and rarely mends itself."""

    stock: Stock
    target: int
    stopping: Callable[[], bool] = lambda: False
    _wait_until: datetime | None = None

    def __call__(self) -> None:
        """Fill where it is due. Raises as `Stock.fill` does, except for being stopped."""
        now = self.stock.clock.now()
        if self._wait_until is not None and now < self._wait_until <= now + AFTER_FAILURE:
            return
        self._wait_until = now + AFTER_FAILURE
        self.stock.sweep()
        self.stock.weed()
        try:
            filling = self.stock.fill(self.target, self.stopping)
        except MeshibotError:
            if self.stopping():
                return
            raise
        if filling.stock >= self.target:
            self._wait_until = None


def hashes_to_avoid(session: Session) -> list[int]:
    """Perceptual hashes of what waits, what is being posted, and what the last posts showed."""
    waiting = select(Picture.phash).where(Picture.state.in_([PictureState.APPROVED, PictureState.RESERVED]))
    last = select(Post.id).order_by(Post.id.desc()).limit(RECENT_POSTS).subquery()
    shown = (
        select(Picture.phash)
        .join(PostPicture, PostPicture.picture_id == Picture.id)
        .join(last, last.c.id == PostPicture.post_id)
    )
    return [*session.scalars(waiting), *session.scalars(shown)]
