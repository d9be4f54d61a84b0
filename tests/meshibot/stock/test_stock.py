"""Filling the stock: real pictures from a real child, in a real SQLite file."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshibot.database import Database, Picture, PictureState
from meshibot.database.migrate import upgrade
from meshibot.errors import NothingToDo
from meshibot.stock.inventory import waiting
from meshibot.stock.sampler import SampledPicture, SamplingRequest, SamplingResult, sample_in_child
from meshibot.stock.sampling import sample
from meshibot.stock.selection import distance
from meshibot.stock.stock import AFTER_FAILURE, Restocker, Stock, hashes_to_avoid
from meshibot.thresholds import LOOK_ALIKE
from tests.checkpoints import make_checkpoint

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class StandingClock:
    """A clock that a test sets."""

    at: datetime = NOON
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "far.safetensors", out_of_reach=1000.0)


@pytest.fixture
def stock(tmp_path: Path, checkpoint: Path) -> Iterator[Stock]:
    url = f"sqlite:///{tmp_path / 'bot.sqlite3'}"
    upgrade(url)
    with Database.open(url) as database:
        yield Stock(database, tmp_path, checkpoint, 0.5, StandingClock())


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sampling in this process, which has torch at hand: for tests of what comes of it."""

    def sample_here(request: SamplingRequest, *, stopping: Callable[[], bool]) -> SamplingResult:
        return sample(request)

    monkeypatch.setattr("meshibot.stock.stock.sample_in_child", sample_here)


def test_filling_adds_what_is_missing_and_no_more(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_a_known_seed(request: SamplingRequest, *, stopping: Callable[[], bool]) -> SamplingResult:
        return sample_in_child(replace(request, seed=3), stopping=stopping)

    monkeypatch.setattr("meshibot.stock.stock.sample_in_child", by_a_known_seed)
    filling = stock.fill(3)
    assert (filling.added, filling.stock, filling.candidates) == (3, 3, 12)
    assert filling.acceptance == pytest.approx(0.5, abs=0.3)
    pictures = waiting(stock.database)
    assert [picture.state for picture in pictures] == [PictureState.APPROVED] * 3
    assert all((stock.home / picture.file).is_file() and picture.created_at == NOON for picture in pictures)
    assert all(not Path(picture.file).is_absolute() for picture in pictures)
    again = stock.fill(3)
    assert (again.added, again.stock, again.acceptance) == (0, 3, None)
    assert sorted(path.name for path in stock.folder.iterdir()) == sorted(Path(p.file).name for p in pictures)


@pytest.mark.usefixtures("no_child")
def test_what_is_added_looks_like_nothing_that_waits(stock: Stock) -> None:
    stock.fill(2)
    stock.fill(4)
    hashes = [picture.phash for picture in waiting(stock.database)]
    assert len(hashes) == 4
    assert all(distance(a, b) >= LOOK_ALIKE for a in hashes for b in hashes if a < b)
    with stock.database.read() as session:
        assert sorted(hashes_to_avoid(session)) == sorted(hashes)


@pytest.mark.usefixtures("no_child")
def test_the_stock_is_sampled_only_when_it_has_too_few_for_a_post(stock: Stock) -> None:
    stock.ensure("main", 1)
    assert stock.count() == 1
    stock.ensure("main", 1)
    assert stock.count() == 1
    stock.ensure("main", 2)
    assert stock.count() == 3


def test_a_failed_sampling_leaves_nothing_behind(stock: Stock, unreachable: Path) -> None:
    far = Stock(stock.database, stock.home, unreachable, 0.5, stock.clock)
    with pytest.raises(NothingToDo, match="lower MESHIBOT_MIN_QUANTILE"):
        far.fill(1)
    assert list(stock.folder.iterdir()) == []
    assert stock.count() == 0


@pytest.mark.usefixtures("no_child")
def test_the_daemon_does_not_sample_in_vain_every_few_minutes(stock: Stock, unreachable: Path) -> None:
    clock = StandingClock()
    far = Restocker(Stock(stock.database, stock.home, unreachable, 0.5, clock), 1)
    with pytest.raises(NothingToDo):
        far()
    clock.at += timedelta(minutes=5)
    far()
    clock.at = NOON + AFTER_FAILURE
    with pytest.raises(NothingToDo):
        far()


@pytest.mark.usefixtures("no_child")
def test_the_daemon_fills_up_at_once_after_a_success(stock: Stock) -> None:
    restocker = Restocker(stock, 1)
    restocker()
    restocker.target = 2
    restocker()
    assert stock.count() == 2


def test_the_daemon_may_be_stopped_while_it_fills(stock: Stock) -> None:
    Restocker(stock, 1000, stopping=lambda: True)()
    assert stock.count() == 0


def test_sweeping_removes_only_what_is_old(stock: Stock) -> None:
    old_work, new_work = stock.folder / ".sampling-old", stock.folder / ".sampling-new"
    old_media, new_media = stock.home / "media" / "a.jpg", stock.home / "media" / "b.jpg"
    for folder in (old_work, new_work, stock.home / "media"):
        folder.mkdir(parents=True)
    for file, days in ((old_media, 31), (new_media, 29)):
        file.write_bytes(b"")
        then = (NOON - timedelta(days=days)).timestamp()
        os.utime(file, (then, then))
    for folder, hours in ((old_work, 25), (new_work, 23)):
        then = (NOON - timedelta(hours=hours)).timestamp()
        os.utime(folder, (then, then))
    stock.sweep()
    assert [path.exists() for path in (old_work, new_work, old_media, new_media)] == [
        False,
        True,
        False,
        True,
    ]


def test_what_another_process_removes_meanwhile_is_no_fault_of_a_sweep(stock: Stock) -> None:
    """A restocking that failed there waited an hour."""
    media = stock.home / "media"
    for folder in (stock.folder, media):
        folder.mkdir(parents=True, exist_ok=True)
    for gone in (stock.folder / ".sampling-gone", media / "gone.jpg"):
        gone.symlink_to("nothing")
    old = media / "old.jpg"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    stock.sweep()
    assert not old.exists()


def take_in(stock: Stock) -> None:
    """Bring in one picture, as if a child had made it."""
    stock.folder.mkdir(exist_ok=True)
    file = stock.home / "a.png"
    file.write_bytes(b"picture")
    sampled = SampledPicture(1, 0.5, 0.7, 2**64 - 1, file, "0" * 64)
    stock._take_in(SamplingResult((sampled,), "1" * 64, 32, 16, 8, 0.7))


def test_a_picture_that_is_there_already_is_not_added_twice(stock: Stock) -> None:
    take_in(stock)
    take_in(stock)
    (row,) = waiting(stock.database)
    assert (row.seed, row.phash, row.file) == (1, 2**64 - 1, "pictures/a.png")


@pytest.mark.usefixtures("no_child")
def test_a_grid_that_can_not_be_completed_is_a_sentence(stock: Stock, tmp_path: Path) -> None:
    collapsed = make_checkpoint(tmp_path / "collapsed.safetensors", collapsed=True)
    with pytest.raises(NothingToDo, match="Only 1 of 4 pictures passed: they are in the stock"):
        Stock(stock.database, stock.home, collapsed, 0.0).ensure("main", 4)
    assert stock.count() == 1


def test_posted_pictures_are_no_stock(stock: Stock) -> None:
    take_in(stock)
    with stock.database.write() as session:
        session.get_one(Picture, waiting(stock.database)[0].id).state = PictureState.POSTED
    assert stock.count() == 0
    assert waiting(stock.database) == []
