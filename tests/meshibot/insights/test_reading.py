"""Reactions are asked for thriftily, by real requests, and what goes wrong with them touches no post."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from meshibot.config import Account, Settings
from meshibot.config.models import account_model
from meshibot.costs import this_month
from meshibot.database import Account as AccountRow
from meshibot.database import AccountState, Database, Post, PostMetrics, PostState
from meshibot.database.migrate import upgrade
from meshibot.insights.first_day import first_days
from meshibot.insights.reading import Reader, is_due, is_read, spent_this_month
from meshibot.insights.tables import insights
from meshibot.kinds import Kind
from meshibot.publishers.base import Publisher
from testbed import ledger
from testbed.fakes import bluesky, mastodon
from testbed.fakes.network import Fake, Fakes
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.ledger import NOON, UTC_ZONE, MovableClock
from testbed.publishers import at
from tests.meshibot.publishers.test_contract import make_draft

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with ledger.new_database(tmp_path) as database:
        with database.write() as session:
            session.add(AccountRow(name="main", publisher="folder"))
        yield database


def looks(age_of_end: timedelta, *, paid: bool) -> list[timedelta]:
    """The ages at which a post is looked at by who asks every five minutes."""
    found: list[timedelta] = []
    age = timedelta(0)
    while age < age_of_end:
        if is_due(age, found[-1] if found else None, paid=paid):
            found.append(age)
        age += timedelta(minutes=5)
    return found


def test_hourly_for_a_day_then_daily_for_a_month() -> None:
    found = looks(60 * DAY, paid=False)
    assert [each for each in found if each < DAY] == [HOUR * n for n in range(1, 24)]
    assert [each for each in found if each >= DAY] == [DAY * n for n in range(1, 30)]


def test_daily_for_a_week_where_it_costs() -> None:
    assert looks(60 * DAY, paid=True) == [DAY * n for n in range(1, 7)]


def account_of(**said: object) -> Account:
    return account_model().model_validate({"name": "main", "timezone": "UTC", **said})


def reader(database: Database, home: Path, clock: MovableClock, account: Account) -> Reader:
    settings = Settings.model_validate({"home": home, "accounts": (account,)})
    return Reader(database, settings, clock)


def posted(
    database: Database, publisher: Publisher, folder: Path, serials: range, at: datetime = NOON
) -> dict[int, str]:
    """Real posts on the network, and their rows; ids there by serial."""
    ids = {}
    for serial in serials:
        draft = make_draft(folder, serial)
        ids[serial] = publisher.send(draft, publisher.upload(draft)).remote_id
        row(database, publisher.name, serial, ids[serial], at)
    return ids


def row(database: Database, publisher: str, serial: int, remote_id: str, at: datetime) -> None:
    with database.write() as session:
        session.add(
            Post(
                account="main",
                publisher=publisher,
                serial=serial,
                kind=Kind.SINGLE,
                state=PostState.POSTED,
                remote_id=remote_id,
                not_before=at,
                due_at=at,
                deadline=at + HOUR,
                created_at=at,
                sent_at=at,
                posted_at=at,
            )
        )


def measured(database: Database) -> list[tuple[int, int | None, int | None, int | None]]:
    with database.read() as session:
        rows = session.scalars(select(PostMetrics).order_by(PostMetrics.measured_at, PostMetrics.post_id))
        return [(each.post_id, each.likes, each.reposts, each.replies) for each in rows]


def sky(fake: Fake) -> Account:
    return account_of(
        publisher="bluesky",
        bluesky_handle=bluesky.HANDLE,
        bluesky_app_password=bluesky.PASSWORD,
        bluesky_service=fake.url,
    )


def test_a_day_of_reactions(database: Database, tmp_path: Path, fakes: Fakes) -> None:
    fake = fakes("bluesky")
    publisher = at("bluesky", fake.url)
    ids = posted(database, publisher, tmp_path, range(1, 31))
    publisher.delete(ids[2])
    publisher.close()
    clock = MovableClock()
    read = reader(database, tmp_path, clock, sky(fake))
    read()
    assert fake.requests("several") == 0, "nobody has answered to what is new"
    clock.move(hours=1)
    read()
    assert fake.requests("several") == 1, "one call at a time: 25 of 30"
    read()
    read()
    assert fake.requests("several") == 2
    found = measured(database)
    assert len(found) == 30
    assert (1, 5, 3, 3) in found
    assert (2, None, None, None) in found, "a post that is gone is not asked for again at once"
    clock.move(hours=24)
    for _ in range(3):
        read()
    with database.read() as session:
        days = list(first_days(session, "main", UTC_ZONE))
        document = insights(session, sky(fake), clock.now())
    assert len(days) == 29
    assert {(day.reactions, day.hour) for day in days} == {(11, 12)}
    assert document["counted"] == 29
    (hour,) = document["by"]["hour"]
    assert (hour["value"], hour["posts"], hour["mean"]) == ("12:00", 29, 11.0)
    assert hour["low"] < 11 < hour["high"]
    clock.move(days=40)
    asked = fake.requests("several")
    read()
    assert fake.requests("several") == asked


@pytest.mark.parametrize("fault", ["status", "hang", "rate_limited", "revoked", "garbage", "suspended"])
def test_trouble_stops_nothing_and_is_not_asked_again_at_once(
    database: Database, tmp_path: Path, fakes: Fakes, fault: str
) -> None:
    fake = fakes("mastodon")
    account = account_of(publisher="mastodon", mastodon_server=fake.url, mastodon_token=mastodon.TOKEN)
    clock = MovableClock(datetime.now(UTC))  # a network names its times by the world's clock
    row(database, "mastodon", 1, "113000000000000001", clock.now() - 2 * HOUR)
    read = reader(database, tmp_path, clock, account)
    fake.set_fault("several", fault, seconds=0.5)
    read()
    assert measured(database) == []
    with database.read() as session:
        assert session.get_one(AccountRow, "main").state is AccountState.ACTIVE
    read()
    assert fake.requests("several") == 1
    clock.move(days=1, hours=1)
    read()
    assert len(measured(database)) == 1


def test_an_account_that_is_stopped_is_left_alone(database: Database, tmp_path: Path, fakes: Fakes) -> None:
    fake = fakes("bluesky")
    row(database, "bluesky", 1, "3mzzzzzzzzzzz", NOON)
    with database.write() as session:
        session.get_one(AccountRow, "main").state = AccountState.STOPPED
    clock = MovableClock()
    clock.move(hours=2)
    reader(database, tmp_path, clock, sky(fake))()
    assert fake.requests("several") == fake.requests("login") == 0


def x_account(fake: FakeX, **said: object) -> Account:
    return account_of(
        publisher="x",
        x_api_base=fake.url,
        x_consumer_key=CREDENTIALS.consumer_key,
        x_consumer_secret=CREDENTIALS.consumer_secret,
        x_access_token=CREDENTIALS.access_token,
        x_access_token_secret=CREDENTIALS.access_token_secret,
        **said,
    )


def test_what_costs_is_asked_only_when_told_to_and_its_cost_is_known(
    database: Database, tmp_path: Path, fake_x: FakeX
) -> None:
    publisher = at("x", fake_x.url)
    ids = posted(database, publisher, tmp_path, range(1, 4))
    publisher.delete(ids[3])
    publisher.close()
    clock = MovableClock()
    clock.move(days=1)
    reader(database, tmp_path, clock, x_account(fake_x))()
    assert measured(database) == []
    paid = x_account(fake_x, reactions="paid")
    reader(database, tmp_path, clock, paid)()
    assert measured(database) == [(1, 5, 3, 3), (2, 5, 3, 3), (3, None, None, None)]
    with database.read() as session:
        assert spent_this_month(session, paid, NOON) == pytest.approx(0.002)
        assert insights(session, paid, clock.now())["most_a_post"] == pytest.approx(0.007)
        (month,) = this_month(
            session, Settings.model_validate({"home": tmp_path, "accounts": (paid,)}), clock.now()
        )
    assert month.looked == pytest.approx(0.002)
    assert month.spent == pytest.approx(0.02 * month.posts + 0.002)


def test_looks_are_made_of_what_the_months_budget_leaves_beside_the_posts(
    database: Database, tmp_path: Path, fake_x: FakeX
) -> None:
    """Three posts were made and six are to come, at $0.02 each: two looks are left of $0.1825."""
    publisher = at("x", fake_x.url)
    posted(database, publisher, tmp_path, range(1, 4))
    publisher.close()
    clock = MovableClock()
    clock.move(days=1)
    said = {"reactions": "paid", "schedule": "0 23 * * *"}
    reader(database, tmp_path, clock, x_account(fake_x, monthly_budget=0.18, **said))()
    assert measured(database) == []
    reader(database, tmp_path, clock, x_account(fake_x, monthly_budget=0.1825, **said))()
    assert len(measured(database)) == 2


@pytest.mark.postgres
def test_both_databases_answer_alike(postgres_url: str, tmp_path: Path, fakes: Fakes) -> None:
    """The look after a day and a bit counts, none before and after; a post looked at too late does not."""
    upgrade(postgres_url)
    fake = fakes("bluesky")
    for made in (Database.open(postgres_url), ledger.new_database(tmp_path)):
        with made as database:
            with database.write() as session:
                session.add(AccountRow(name="main", publisher="bluesky"))
            for serial in (1, 2):
                row(database, "bluesky", serial, f"r{serial}", NOON)
            with database.write() as session:
                for post, days, likes in ((1, 0.9, 1), (1, 1.01, 2), (1, 2.0, 3), (2, 3.5, 9)):
                    at = NOON + days * DAY
                    session.add(PostMetrics(post_id=post, measured_at=at, likes=likes, reposts=1))
            with database.read() as session:
                days_over = list(first_days(session, "main", UTC_ZONE))
                document = insights(session, account_of(publisher="bluesky"), NOON + 9 * DAY)
            assert [(day.post, day.reactions) for day in days_over] == [(1, 3)]
            assert (document["posts"], document["counted"]) == (2, 1)
            reader(database, tmp_path, MovableClock(NOON + 4 * DAY), sky(fake))()
            assert measured(database)[-1] == (1, None, None, None)
            assert len(measured(database)) == 5


WANTED: list[tuple[str, str, bool]] = [
    ("bluesky", "free", True),
    ("bluesky", "paid", True),
    ("bluesky", "off", False),
    ("x", "free", False),
    ("x", "paid", True),
    ("folder", "paid", False),
]


@pytest.mark.parametrize(("publisher", "reactions", "wanted"), WANTED)
def test_which_accounts_are_read(publisher: str, reactions: str, wanted: bool) -> None:
    assert is_read(account_of(publisher=publisher, reactions=reactions)) is wanted
