"""For machines: whether it lives, and figures."""

from sqlalchemy import func, select
from starlette.responses import JSONResponse, Response

from meshibot.database import Daemon
from meshibot.database.queries import ALIVE
from meshibot.errors import MeshibotError
from meshibot.metrics import CONTENT_TYPE
from meshibot.web.site import Call


def healthz(call: Call) -> Response:
    """State and nothing else, without a login: 200, or 503 where the database fails or no daemon lives."""
    try:
        with call.site.database.read() as session:
            seen = session.scalar(select(func.max(Daemon.seen_at)).where(Daemon.stopped_at.is_(None)))
    except MeshibotError:
        return JSONResponse({"database": "failed", "daemon_seen_s": None}, 503)
    age = None if seen is None else max(0, round((call.site.now() - seen).total_seconds()))
    alive = age is not None and age < ALIVE.total_seconds()
    return JSONResponse({"database": "ok", "daemon_seen_s": age}, 200 if alive else 503)


def metrics(call: Call) -> Response:
    """For Prometheus, with the token as bearer or the cookie."""
    return Response(call.site.metrics.text(call.site.now()), media_type=CONTENT_TYPE)
