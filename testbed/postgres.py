"""A PostgreSQL cluster of our own: in a temporary folder, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

USER = "meshibot"


class NoServerError(RuntimeError):
    """PostgreSQL can't be started on this machine."""


def _program(name: str) -> str | None:
    """Debian keeps the server's programs out of the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name) or (str(beside[0]) if beside else None)


def _unprivileged() -> dict[str, str]:
    """PostgreSQL refuses to run as root: its own user runs it then."""
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise NoServerError("PostgreSQL does not run as root, and there is no user postgres") from None
    return {"user": "postgres", "group": "postgres"}


def _call(*command: str, **who: str) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
        **who,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout


@contextmanager
def cluster(*options: str) -> Iterator[str]:
    """Run a server; its address, without a database's name. Raises NoServerError where there can be none."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        raise NoServerError("PostgreSQL is not installed (Debian: postgresql)")
    who = _unprivileged()
    # The path of a Unix socket may have 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="meshibot-pg-", dir="/tmp"))
    if who:
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    try:
        _call(initdb, "-D", data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync", **who)
        settings = " ".join((f"-k {folder} -c listen_addresses='' -c max_connections=60", *options))
        _call(pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start", **who)
        try:
            yield f"postgresql+psycopg://{USER}@/{{name}}?host={folder}"
        finally:
            _call(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop", **who)
    finally:
        shutil.rmtree(folder)


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """The address of an empty database; it is dropped in the end."""
    name = f"test_{os.urandom(6).hex()}"
    administration = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    try:
        with administration.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield server.format(name=name)
        with administration.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        administration.dispose()
