"""After a restore nothing is posted twice, and nothing is lost: no slot, no post that exists, no picture."""

import gzip
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot import restoring
from meshibot.backup.archive import name_of
from meshibot.backup.make import make
from meshibot.clock import SystemClock
from meshibot.config import Settings
from meshibot.config.models import account_model
from meshibot.database import (
    Account,
    Database,
    Picture,
    PictureState,
    Post,
    PostState,
    Slot,
    SlotState,
    carry,
    queries,
)
from meshibot.database.models import OPEN_STATES, Base
from meshibot.errors import DatabaseFailure
from meshibot.outbox import Outbox, Policy, people, restored
from meshibot.presence import Presence
from meshibot.slots import Schedule
from meshibot.slots.planner import write_slots
from testbed import ledger
from testbed.command import Command
from testbed.homes import ask, due, stocked
from testbed.ledger import NOON, UTC_ZONE, Killed, Ledger, LedgerPublisher, MovableClock, channel
from tests.checkpoints import make_checkpoint
from tests.disks import mounted

CRON = "0 */12 * * *"
JITTER = timedelta(minutes=30)
SCHEDULE = Schedule(CRON, UTC_ZONE, jitter=JITTER)


@dataclass
class World:
    """A bot, its home, and a network that outlives both."""

    folder: Path
    seed: int
    clock: MovableClock = field(default_factory=MovableClock)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        shutil.move(ledger.new_database(self.home).url.database or "", self.home / "meshibot.sqlite3")
        self.publisher = LedgerPublisher(Ledger(self.folder / "ledger"), self.clock)
        account = account_model().model_validate(
            {"name": "main", "schedule": CRON, "jitter": JITTER, "timezone": "UTC"}
        )
        self.settings = Settings.model_validate(
            {"home": self.home, "accounts": (account,), "checkpoint": self.folder / "none"}
        )
        self.stocks = 0
        self.begin()

    def begin(self) -> None:
        """A daemon starts."""
        self.database = Database.open(self.settings.database_address)
        self.outbox = Outbox(
            self.database,
            [channel(self.home, self.publisher, schedule=SCHEDULE)],
            Policy(),
            self.clock,
            self.rng,
            elapsed=lambda: self.clock.elapsed,
        )

    def end(self) -> None:
        """It ends."""
        self.database.close()

    def live(self, until: datetime, faults: float) -> None:
        """Post on schedule; a share of all requests fails, in every way there is."""
        planned = self.clock.now() - timedelta(days=1)
        while self.clock.now() < until:
            self._refill()
            if self.clock.now() - planned >= timedelta(days=1):
                planned = self.clock.now()
                with self.database.write() as session:
                    write_slots(session, "main", SCHEDULE, planned, self.rng)
            if self.rng.random() < faults:  # and what comes of it
                call = self.rng.choice(["upload", "send", "send", "find"])
                kinds = ["later", "unclear", "lost", "killed", "killed-after"]
                self.publisher.faults[call].append(self.rng.choice(kinds if call == "send" else ["later"]))
            try:
                while self.outbox.step("main") is not None:
                    pass
            except Killed:
                pass
            soon = self.outbox.next_moment("main") or self.clock.now()
            wait = min(max((soon - self.clock.now()).total_seconds(), 30), 43200)
            self.clock.move(seconds=wait + 1)

    def _refill(self) -> None:
        with self.database.read() as session:
            waiting = session.scalars(select(Picture.id).where(Picture.state == PictureState.APPROVED)).all()
        if len(waiting) < 3:
            self.stocks += 1
            ledger.stock(self.database, self.home, 5, seed=self.seed * 1000 + self.stocks)
            for number in range(5):  # as no two pictures are the same
                name = f"picture-{self.seed * 1000 + self.stocks}-{number}.png"
                (self.home / name).write_bytes(name.encode())

    def take_in(self, *, lists: bool) -> None:
        """What `meshibot resume` does."""
        with self.database.write() as session:
            since = restored.unknown_since(session, "main")
            assert since is not None
            seen = list(self.publisher.published(since - timedelta(hours=1))) if lists else None
            restored.take_in(session, "main", SCHEDULE, seen, self.clock.now(), by="a test")
        people.resume(self.database, "main", clock=self.clock)

    def check(self, *, lists: bool) -> None:
        """0 double, 0 lost."""
        posts = self.publisher.ledger.posts()
        texts = Counter(post["text"] for post in posts)
        assert texts.most_common(1)[0][1] == 1, "a serial was used twice"
        shown = Counter(Path(post["file"]).read_bytes() for post in posts)
        assert shown.most_common(1)[0][1] == 1, "a picture was shown twice"
        served = Counter(self._slot_of(post) for post in posts)
        assert served.most_common(1)[0][1] == 1, "a slot was published twice"
        with self.database.read() as session:
            rows = session.scalars(select(Post)).all()
            slots = session.scalars(select(Slot).where(Slot.due_at < self.clock.now() - JITTER)).all()
        if lists:
            known = {row.remote_id for row in rows if row.state is PostState.POSTED}
            assert known == {post["id"] for post in posts}
        assert {slot.key for slot in slots} >= {f"main|{key}" for key in served}
        by_slot = {row.slot_id: row for row in rows}
        for slot in slots:
            if slot.state is SlotState.TAKEN:
                row = by_slot[slot.id]
                assert row.state is PostState.POSTED or row.reason or row.state in OPEN_STATES, row.state
            else:
                assert slot.state is SlotState.MISSED
                assert slot.reason

    def _slot_of(self, post: dict[str, str]) -> str:
        """The slot that a post on the ledger was made for: they lie twelve hours apart, the grace is two."""
        at = NOON + timedelta(seconds=float(post["made"]))
        begun = at.replace(hour=at.hour // 12 * 12, minute=0, second=0, microsecond=0)
        return f"{begun:%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize(
    ("seed", "lists"),
    [(0, True), (1, False), *(pytest.param(n, n % 2 == 0, marks=pytest.mark.long) for n in range(2, 10))],
)
def test_a_month_after_a_restore_nothing_is_double_and_nothing_lost(
    tmp_path: Path, seed: int, lists: bool
) -> None:
    world = World(tmp_path, seed)
    world.live(NOON + timedelta(days=2, hours=5.9 + seed / 40), faults=0.1)
    file = tmp_path / name_of(world.clock.now())
    made = make(world.settings, file, world.clock.now())
    assert made.pictures > 0
    world.live(world.clock.now() + timedelta(days=28), faults=0.1)
    before = len(world.publisher.ledger.posts())
    assert before > 40
    world.end()
    document = restoring.restore(world.settings, file, world.clock.now())
    assert document["held"][0]["slots"] > 50
    world.begin()
    assert world.outbox.step("main") is None, "an account that is held sends nothing"
    assert len(world.publisher.ledger.posts()) == before
    world.publisher.faults["find"].clear()
    world.take_in(lists=lists)
    world.live(world.clock.now() + timedelta(days=3), faults=0.0)
    assert len(world.publisher.ledger.posts()) >= before + 5
    world.check(lists=lists)
    world.end()


@pytest.mark.parametrize(("lists", "call"), [(True, "send"), (True, "upload"), (False, "upload")])
def test_a_post_that_waited_when_the_backup_was_made_is_looked_for(
    tmp_path: Path, lists: bool, call: str
) -> None:
    """And counts as one that was sent, also where the backup is from before that."""
    world = World(tmp_path, 7)
    world._refill()
    ledger.slot(world.database, NOON)
    world.publisher.faults[call].append("later")
    world.outbox.step("main")
    file = tmp_path / name_of(NOON)
    make(world.settings, file, NOON)
    world.clock.move(minutes=2)
    world.outbox.step("main")
    assert len(world.publisher.ledger.posts()) == 1
    world.end()
    world.clock.move(minutes=1)
    assert restoring.restore(world.settings, file, world.clock.now())["held"][0]["unclear"] == 1
    world.begin()
    world.take_in(lists=lists)
    for _ in range(8):
        world.outbox.step("main")
        world.clock.move(seconds=31)
    with world.database.read() as session:
        assert [post.state for post in session.scalars(select(Post))] == [PostState.POSTED]
        day = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))
        assert queries.begun_between(session, "main", *day) == 1
    assert len(world.publisher.ledger.posts()) == 1
    world.end()


def test_a_slot_that_was_posted_is_not_planned_again_with_another_jitter(tmp_path: Path) -> None:
    """The backup is older than the slot, so that its jitter is drawn again, and may lie ahead."""
    for seed in range(6):
        world = World(tmp_path / str(seed), seed)
        world._refill()
        file = tmp_path / name_of(NOON + timedelta(seconds=seed))
        make(world.settings, file, NOON - timedelta(days=7))
        world.clock.move(minutes=1)  # noon's slot has come, and was posted at once
        world.end()
        restoring.restore(world.settings, file, world.clock.now())
        world.begin()
        world.take_in(lists=False)
        with world.database.write() as session:
            write_slots(session, "main", SCHEDULE, world.clock.now(), world.rng)
        with world.database.read() as session:
            slot = session.scalars(select(Slot).where(Slot.key == "main|2026-11-24T12:00")).one_or_none()
        assert slot is None or slot.state is SlotState.MISSED
        world.end()


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_bot_is_saved_lost_and_brought_back(bot: Command) -> None:
    bot = stocked(bot, 6)
    (bot.home / ".env").write_text(
        "# old: s3cr3t-0\nMESHIBOT_CAPTIONS=en\nMESHIBOT_X_ACCESS_TOKEN=s3cr3t-1\n"
    )
    for _ in range(2):
        assert bot("post-now").returncode == 0
    made = bot.json("backup")
    assert (made["pictures"], made["secrets_left_out"]) == (6, ["MESHIBOT_X_ACCESS_TOKEN"])
    assert "s3cr3t" not in archive_text(Path(made["file"]))
    for _ in range(2):
        assert bot("post-now").returncode == 0
    due(bot, "main", ago=-3600)
    posts = sorted(path.name for path in (bot.home / "posts").iterdir())
    shutil.rmtree(bot.home / "pictures")
    bot.database.write_bytes(b"no database any more")
    done = bot.json("restore", made["file"])
    assert Path(done["kept"]).read_bytes() == b"no database any more"
    assert (done["pictures"], done["stock_put_aside"]) == (6, 4)
    assert "Taken in: 2 posts since the backup; the next post is No.0005" in done["accounts"][0]["says"]
    history = bot.json("history")
    assert [(post["serial"], post["state"]) for post in history] == [(n, "posted") for n in (4, 3, 2, 1)]
    assert sorted(path.name for path in (bot.home / "posts").iterdir()) == posts
    new = (bot.home / ".env.new").read_text()
    assert "MESHIBOT_CAPTIONS='en'\nMESHIBOT_X_ACCESS_TOKEN=\n" in new
    assert "s3cr3t" in (bot.home / ".env").read_text(), "what is there stays"
    assert [path.name for path in bot.home.iterdir() if path.name.startswith(".restore")] == []


def archive_text(file: Path) -> str:

    return gzip.decompress(file.read_bytes()).decode("latin-1")


def test_a_stopped_restore_asks_nobody_and_resume_does(bot: Command) -> None:
    bot = stocked(bot, 3)
    bot("post-now")
    file = bot.json("backup")["file"]
    bot("post-now")
    assert bot.json("restore", file, "--stopped")["accounts"] == []
    assert ask(bot, "SELECT state FROM accounts") == [("stopped",)]
    said = bot.json("status")["accounts"][0]["stopped_reason"]
    assert said.startswith("It was restored from a backup of")
    assert "Taken in: 1 post since the backup" in bot("resume").stderr
    assert ask(bot, "SELECT serial, state FROM posts ORDER BY serial") == [(1, "posted"), (2, "posted")]


def test_a_slot_that_was_planned_again_is_no_restore_and_a_restore_is_no_slot(bot: Command) -> None:
    """`slots restore` leaves an event of the same name."""
    bot = stocked(bot, 3)
    bot("post-now")
    file = bot.json("backup")["file"]
    bot("post-now")
    bot.json("restore", file, "--stopped")
    slot = bot.json("slots", "list")[0]["local"][:16]
    for command in ("skip", "restore"):
        bot.json("slots", command, slot)
    of_slot, of_account = (event for event in bot.json("events") if event["action"] == "restore")
    assert (of_slot["undo"], of_account["undo"]) == (True, False)
    assert "can't be taken back" in bot.refused("undo", str(of_account["id"]), status=2)
    assert "Taken in: 1 post since the backup" in bot("resume").stderr


def test_what_can_not_be_restored_changes_nothing(bot: Command, tmp_path: Path) -> None:
    bot = stocked(bot, 2)
    file = Path(bot.json("backup")["file"])
    before = bot.database.read_bytes()
    whole = file.read_bytes()
    torn = tmp_path / "torn.tar.gz"
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:200] + b"x" * 50 + whole[250:]):
        torn.write_bytes(content)
        assert "take another" in bot.refused("restore", str(torn), status=1)
    assert "No such file" in bot.refused("restore", str(tmp_path / "none"), status=2)
    url = "postgresql://u@127.0.0.1:1/n"
    assert "can't be used" in bot.refused("restore", str(file), status=1, DATABASE_URL=url)
    assert "in the past" in bot.refused("db", "hold", "--since", "2999-01-01", status=2)
    assert bot.database.read_bytes() == before
    assert sorted(path.name for path in bot.home.iterdir()) == ["backups", "meshibot.sqlite3", "pictures"]


def test_a_home_that_can_not_be_written_is_told_what_to_do(bot: Command, tmp_path: Path) -> None:
    file = stocked(bot, 2).json("backup")["file"]
    with mounted(tmp_path / "disk") as disk:
        disk.read_only()
        says = bot.refused("restore", file, status=1, HOME=str(disk.folder))
    assert "make room, or make the folder writable, then try again" in says


def test_a_daemon_must_not_run(bot: Command) -> None:
    bot = stocked(bot, 2)
    file = bot.json("backup")["file"]
    with Database.open(f"sqlite:///{bot.database}") as database:
        presence = Presence(database, SystemClock())
        presence.begin()
        assert "A daemon runs on this database" in bot.refused("restore", file, status=2)
        assert "A daemon runs on this database" in bot.refused(
            "db", "hold", "--since", "2026-01-01", status=2
        )
        presence.end()


def test_a_database_that_somebody_has_open_is_not_replaced(bot: Command) -> None:
    bot = stocked(bot, 2)
    file = bot.json("backup")["file"]
    with Database.open(f"sqlite:///{bot.database}") as database, database.read() as session:
        session.scalars(select(Account)).all()
        assert "is in use" in bot.refused("restore", file, status=1)


def test_a_database_that_came_back_by_other_means_is_held(bot: Command) -> None:
    bot = stocked(bot, 3)
    bot("post-now")
    due(bot, "main")
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    held = bot.json("db", "hold", "--since", since)["held"]
    assert held == [{"account": "main", "slots": 1, "unclear": 0}]
    assert ask(bot, "SELECT state FROM slots WHERE due_at < CURRENT_TIMESTAMP") == [("missed",)]
    assert bot("resume").returncode == 0
    assert ask(bot, "SELECT next_serial FROM accounts") == [(2,)]


def sampling(bot: Command) -> Command:
    """The bot with a checkpoint: a restore puts the stock aside."""
    checkpoint = make_checkpoint(bot.folder / "tiny.safetensors")
    return bot.having({"CHECKPOINT": str(checkpoint), "MIN_QUANTILE": "0"})


def rows_of(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All of a database."""
    with Database.open(url) as database, database.read() as session:
        return {
            table.name: sorted(tuple(map(str, row)) for row in session.execute(select(table)))
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.postgres
def test_postgresql_is_saved_and_brought_back_in_one_step(bot: Command, postgres_url: str) -> None:
    bot = stocked(sampling(bot).having({"DATABASE_URL": postgres_url}), 6)
    for _ in range(2):
        assert bot("post-now").returncode == 0
    made = bot.json("backup")
    assert made["pictures"] == 6
    saved = bot.json("db", "backup", "--to", str(bot.folder))["file"]
    assert rows_of(f"sqlite:///{saved}") == rows_of(postgres_url)
    for _ in range(2):
        assert bot("post-now").returncode == 0
    before = rows_of(postgres_url)
    done = bot.json("restore", made["file"])
    schema = done["kept"].removeprefix("schema ")
    assert schema.startswith("before_restore_2")
    kept = f"SELECT count(*) FROM {schema}.posts"  # noqa: S608 (a name of ours)
    assert ask(bot, kept) == [(4,)]
    assert "Taken in: 2 posts since the backup; the next post is No.0005" in done["accounts"][0]["says"]
    assert bot.json("post-now")["serial"] == 5
    assert len(rows_of(postgres_url)["posts"]) == len(before["posts"]) + 1
    assert [post["serial"] for post in bot.json("history")] == [5, 4, 3, 2, 1]
    assert list(bot.home.glob(".restore*")) == list(bot.home.glob("backups/.*")) == []


@pytest.mark.long
@pytest.mark.postgres
def test_a_backup_carries_a_bot_from_sqlite_to_postgresql_and_back(bot: Command, postgres_url: str) -> None:
    bot = stocked(sampling(bot), 4)
    assert bot("post-now").returncode == 0
    made = bot.json("backup")["file"]
    moved = bot.having({"DATABASE_URL": postgres_url})
    assert moved.json("restore", made)["kept"] is None
    assert moved.json("post-now")["serial"] == 2
    back = moved.json("backup", "--to", str(bot.folder / "back.tar.gz"))["file"]
    assert bot.json("restore", back)["kept"].endswith(".sqlite3")
    assert [post["serial"] for post in bot.json("history")] == [2, 1]


@pytest.mark.postgres
def test_tables_that_somebody_uses_are_not_replaced(
    bot: Command, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = stocked(bot.having({"DATABASE_URL": postgres_url}), 2)
    file = Path(bot.json("backup")["file"])
    monkeypatch.setattr(carry, "_WAIT", "100ms")
    account = account_model().model_validate({"name": "main"})
    settings = Settings.model_validate(
        {"home": bot.home, "accounts": (account,), "database_url": postgres_url}
    )
    before = rows_of(postgres_url)
    with Database.open(postgres_url) as database, database.read() as session:
        session.scalars(select(Account)).all()
        with pytest.raises(DatabaseFailure, match="lock timeout"):
            restoring.restore(settings, file, datetime.now(UTC))
    assert rows_of(postgres_url) == before
    assert ask(bot, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'before%'") == [(0,)]
