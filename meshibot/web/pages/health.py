"""For machines: whether it lives, and figures."""

from starlette.responses import JSONResponse, Response

from meshibot.database.queries import last_daemon, lives
from meshibot.errors import MeshibotError
from meshibot.metrics import CONTENT_TYPE
from meshibot.web.site import Call


def healthz(call: Call) -> Response:
    """State and nothing else, without a login: 200, or 503 where the database fails or no daemon lives."""
    try:
        with call.site.database.read() as session:
            daemon = last_daemon(session, call.site.now())
    except MeshibotError:
        return JSONResponse({"database": "failed", "daemon_seen_s": None}, 503)
    if daemon is None or daemon.stopped_at is not None:
        return JSONResponse({"database": "ok", "daemon_seen_s": None}, 503)
    now = call.site.now()
    age = max(0, round((now - daemon.seen_at).total_seconds()))
    return JSONResponse({"database": "ok", "daemon_seen_s": age}, 200 if lives(daemon, now) else 503)


def metrics(call: Call) -> Response:
    """For Prometheus, with the token as bearer or the cookie."""
    return Response(call.site.metrics.text(call.site.now()), media_type=CONTENT_TYPE)
