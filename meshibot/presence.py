"""What a daemon says of itself in the database, so that `status` can tell whether one runs."""

import os
import socket
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import delete

from meshibot import __version__
from meshibot.clock import Clock
from meshibot.database.models import Daemon
from meshibot.database.session import Database

REMEMBERED = timedelta(days=7)
"""How long the rows of daemons stay that were not seen any more."""


@dataclass(frozen=True)
class Presence:
    """The row of one process."""

    database: Database
    clock: Clock
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def begin(self) -> None:
        """Say hello, and forget those that ended long ago."""
        now = self.clock.now()
        with self.database.write() as session:
            session.execute(delete(Daemon).where(Daemon.seen_at < now - REMEMBERED))
            session.add(
                Daemon(
                    id=self.id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    started_at=now,
                    seen_at=now,
                )
            )

    def beat(self) -> None:
        """Say that it lives."""
        with self.database.write() as session:
            row = session.get(Daemon, self.id)
            if row is not None:
                row.seen_at = self.clock.now()

    def end(self) -> None:
        """Say that it ended as it should."""
        with self.database.write() as session:
            row = session.get(Daemon, self.id)
            if row is not None:
                row.seen_at = row.stopped_at = self.clock.now()
