"""`meshibot web`: the server of the page, on this machine alone unless told otherwise."""

import asyncio
import gc
import logging
import socket
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import URL, event

from meshibot.assembly import make_home
from meshibot.config import Settings
from meshibot.database import Database
from meshibot.database.migrate import check_revision, upgrade
from meshibot.database.session import parse_url
from meshibot.errors import DatabaseFailure, MeshibotError, UsageError
from meshibot.metrics import Metrics
from meshibot.web.access import Access, read_token, token_file
from meshibot.web.app import make_app
from meshibot.web.guard import Guard
from meshibot.web.pictures import Pictures
from meshibot.web.site import Site

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_THREADS = 2
"""Pages are made in so many at once; each holds a connection to the database."""
_CACHE_KIB = 256
_CONNECTIONS = 64
_BUSY_SECONDS = 5
"""A page does not wait for a locked database as long as a post does."""


@dataclass(frozen=True)
class Place:
    """Where the page is."""

    address: str = "127.0.0.1"
    port: int = 8742
    exposed: bool = False
    """Others than this machine may ask for it; the owner said so."""
    names: Collection[str] = ()
    """By which it may be asked besides: of this machine in its network, or of a proxy."""
    https: bool = False
    """A proxy in front speaks https."""

    @property
    def url(self) -> str:
        """Of the start page, as a browser on this machine would write it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        if self.address in ("0.0.0.0", "::"):  # noqa: S104 (any address has none of its own)
            host = "127.0.0.1"
        return f"http://{host}:{self.port}"

    def require_meant(self) -> None:
        """UsageError where it would be open to others and nobody said that it is to be."""
        if self.address not in LOOPBACK and not self.exposed:
            raise UsageError(
                f"At {self.address} others than this machine could ask for the page, which can post in your "
                "name: add --expose if you mean that, or use `ssh -L` or a proxy."
            )

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may call it."""
        own = f"[{self.address}]" if ":" in self.address else self.address
        return OWN_NAMES | {own.lower()} | {name.lower() for name in self.names}


def instance_of(settings: Settings) -> str:
    """Which installation this is, for the cookie's name and what the token signs."""
    return str(settings.home)


def new_link(settings: Settings, place: Place) -> str:
    """A link that lets somebody in, once and soon."""
    make_home(settings)
    access = Access(read_token(settings.home), instance_of(settings))
    return f"{place.url}/login?once={access.new_link()}"


def require_run(run: Path | None) -> None:
    """UsageError where a run folder is named that is none."""
    if run is not None and not run.is_dir():
        raise UsageError(f"There is no run folder at {run}: name the one that `trainer fit` wrote.")


def open_site(settings: Settings, stack: ExitStack, *, run: Path | None = None, secure: bool = False) -> Site:
    """The parts of the page; what is opened is closed with the stack."""
    require_run(run)
    make_home(settings)
    _bring_up_to_date(settings.database_address)
    database = stack.enter_context(Database(_impatient(settings)))
    if database.is_sqlite:
        event.listen(database.engine, "connect", _keep_cache_small)
    access = Access(read_token(settings.home), instance_of(settings))
    pictures = Pictures(database, settings.home)
    stack.callback(pictures.close)
    pictures.sweep()
    return Site(settings, database, access, pictures, Metrics(database, settings), run, secure)


def _bring_up_to_date(url: str) -> None:
    """As `upgrade`, by a child where anything is to be done: Alembic needs 12 MB, and once only."""
    with Database.open(url) as database:
        is_missing = database.is_sqlite and not Path(str(database.url.database)).is_file()
        if not is_missing and check_revision(database):
            return
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(upgrade, url).result()
    except BrokenProcessPool as error:
        raise DatabaseFailure(
            "The database was not brought up to date: run `meshibot db upgrade`."
        ) from error


def _keep_cache_small(connection: Any, _: object) -> None:
    """Each connection would keep 2 MB of pages, which the system keeps as well."""
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    finally:
        cursor.close()


def _impatient(settings: Settings) -> URL:
    url = parse_url(settings.database_address)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        return url.update_query_dict({"timeout": str(_BUSY_SECONDS)})
    return url


def serve(settings: Settings, place: Place, *, run: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises UsageError where the place can't be."""
    place.require_meant()
    with ExitStack() as stack:
        site = open_site(settings, stack, run=run, secure=place.https)
        app = make_app(site, place.hosts)
        bound = _bind(place)
        gc.collect()
        if place.address not in LOOPBACK:
            log.warning("Others than this machine can reach the page at %s.", place.address)
        log.info("The page is at %s; its token is in %s.", place.url, token_file(settings.home))
        asyncio.run(_run(app, bound))


def _bind(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((place.address, place.port))
    except OSError as error:
        bound.close()
        raise MeshibotError(
            f"Port {place.port} at {place.address} can't be had ({error.strerror}): take another by --port."
        ) from error
    bound.set_inheritable(False)
    return bound


async def _run(app: Guard, bound: socket.socket) -> None:
    from anyio.to_thread import current_default_thread_limiter

    current_default_thread_limiter().total_tokens = _THREADS
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
    )
    await uvicorn.Server(config).serve(sockets=[bound])
