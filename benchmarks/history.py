"""A long history: years of posts, one every five minutes, each with its slot, picture and attempts.

It is written as the meshibot of revision 0002 wrote it, in a few statements that both databases know, and is
brought up to this code's tables by whoever uses it.
"""

from alembic import command
from sqlalchemy import Connection, text

from meshibot.database import Database
from meshibot.database.migrate import alembic_config, upgrade

REVISION = "0002"
MOMENT = {
    "sqlite": "datetime('now', (-5 * (:count - i + 1)) || ' minutes') || '.000000'",
    "postgresql": "now() - (:count - i + 1) * interval '5 minutes'",
}
STATEMENTS = """
INSERT INTO accounts (name, publisher, next_serial, state) VALUES ('main', 'x', :count + 1, 'active');
INSERT INTO pictures (id, sha256, checkpoint, seed, score, quantile, phash, file, state, created_at)
    SELECT i, 'f' || i, 'generator-1.safetensors', i, 0.5, 0.5, i * 2654435761, 'pictures/' || i || '.png',
           'posted', at FROM numbers;
INSERT INTO slots (id, account, key, due_at, local, state)
    SELECT i, 'main', 'main|' || at, at, at, 'taken' FROM numbers;
INSERT INTO posts (id, account, slot_id, serial, kind, state, caption, alt_text, media_file, media_ids,
                   remote_id, url, attempts, looks, duplicate, version, not_before, deadline, created_at,
                   sent_at, posted_at)
    SELECT i, 'main', i, i, 'single', 'posted', 'A bowl of ramen at midnight. No.' || i,
           'A bowl of ramen that does not exist.', 'media/main-' || i || '.jpg', '["1"]',
           'r' || i, 'https://x.com/i/web/status/' || i, 0, 0, false, 5, at, at, at, at, at FROM numbers;
INSERT INTO post_pictures (post_id, picture_id, position) SELECT i, i, 0 FROM numbers;
INSERT INTO attempts (post_id, phase, started_at, ended_at, outcome)
    SELECT i, phase, at, at, 'done' FROM numbers, (SELECT 'upload' AS phase UNION ALL SELECT 'send') AS phases
"""
SEQUENCES = ("pictures", "slots", "posts")


def write_history(url: str, count: int) -> None:
    """Write it into an empty database at `url`, and leave that at the old revision."""
    with Database.open(url) as database:
        with database.migrate() as connection:
            command.upgrade(alembic_config(connection), REVISION)
        with database.connect() as connection:
            _write(connection, count)


def make_history(url: str, count: int) -> None:
    """The same, brought up to date."""
    write_history(url, count)
    upgrade(url)


def _write(connection: Connection, count: int) -> None:
    dialect = connection.dialect.name
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE numbers AS SELECT i, CAST({MOMENT[dialect]} AS {_type(dialect)}) AS at "  # noqa: S608
            "FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
            "SELECT CAST(i AS bigint) AS i FROM n) AS counted"
        ),
        {"count": count},
    )
    for statement in STATEMENTS.split(";\n"):
        connection.execute(text(statement), {"count": count} if ":count" in statement else {})
    connection.execute(text("DROP TABLE numbers"))
    if dialect == "postgresql":
        for table in SEQUENCES:
            connection.execute(text(f"SELECT setval('{table}_id_seq', {count})"))


def _type(dialect: str) -> str:
    return "text" if dialect == "sqlite" else "timestamptz"
