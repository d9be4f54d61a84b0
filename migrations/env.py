"""Alembic's entry: inside the transaction of meshibot.database.migrate, or on its own from a terminal."""

import os

from alembic import context
from sqlalchemy import Connection

from meshibot.database.models import Base
from meshibot.database.session import Database


def run(connection: Connection) -> None:
    """Run what Alembic was asked for on this connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite can't alter most of a table in place
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with Database.open(os.environ["MESHIBOT_DATABASE_URL"]) as database, database.migrate() as own:
        run(own)
