"""The application: which address is which page, and what an error looks like."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from meshibot.errors import DatabaseFailure, DatabaseNewer, MeshibotError, UsageError
from meshibot.logs import Redactor
from meshibot.web.guard import Guard
from meshibot.web.pages import (
    calendar,
    door,
    gallery,
    health,
    home,
    images,
    insights,
    picture,
    review,
    training,
)
from meshibot.web.site import Call, Site, language_of

log = logging.getLogger(__name__)

MOST_FIELDS = 500
"""Of a form: a grid of pictures, all selected, has 60."""

Page = Callable[[Call], Response]

PAGES: tuple[tuple[str, str, Page], ...] = (
    ("GET", "/", home.show),
    ("POST", "/resolve", home.resolve),
    ("POST", "/undo", home.undo),
    ("GET", "/review", review.show),
    ("POST", "/review", review.judge),
    ("GET", "/gallery", gallery.show),
    ("GET", "/pictures/{picture}", picture.show),
    ("POST", "/pictures/{picture}/words", picture.write),
    ("POST", "/pictures/{picture}/again", picture.make_again),
    ("GET", "/images/{sha256}/{side}.webp", images.sized),
    ("GET", "/calendar", calendar.show),
    ("POST", "/calendar", calendar.add),
    ("GET", "/slot", calendar.show_slot),
    ("POST", "/slot", calendar.change),
    ("GET", "/insights", insights.show),
    ("GET", "/training", training.show),
    ("GET", "/training/samples/{step}.png", training.sheet),
    ("GET", "/login", door.show),
    ("POST", "/login", door.enter),
    ("POST", "/logout", door.leave),
    ("POST", "/language", door.choose_language),
    ("GET", "/healthz", health.healthz),
    ("GET", "/metrics", health.metrics),
    ("GET", "/favicon.ico", images.favicon),
)


def make_app(site: Site, hosts: frozenset[str]) -> Guard:
    """The application behind its guard. `hosts` are the names by which it may be asked."""
    methods: dict[str, dict[str, Page]] = {}
    for method, path, page in PAGES:
        methods.setdefault(path, {})[method] = page
    routes: list[BaseRoute] = [
        Route(path, _endpoint(site, pages), methods=list(pages)) for path, pages in methods.items()
    ]
    routes.append(Mount("/static", _Checked(packages=[("meshibot.web", "static")])))
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _answer(site, _no_page), Exception: _answer(site, _broken)},
    )
    return Guard(
        app,
        site.access,
        hosts,
        site.secure,
        language=lambda scope: language_of(Request(scope), site.settings),
    )


def _endpoint(site: Site, pages: dict[str, Page]) -> Callable[[Request], Awaitable[Response]]:
    """A page as Starlette calls it: in a thread, for it reads the database."""

    async def endpoint(request: Request) -> Response:
        body = await request.body() if request.method == "POST" else b""
        page = pages["POST" if request.method == "POST" else "GET"]
        return await run_in_threadpool(_called, site, request, body, page)

    return endpoint


def _called(site: Site, request: Request, body: bytes, page: Page) -> Response:
    language = language_of(request, site.settings)
    call = Call(site, request, {}, language)
    try:
        form = parse_qs(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except ValueError:  # UnicodeDecodeError as well
        return _error(call, 400, "The form can't be read.")
    call = Call(site, request, form, language)
    try:
        return page(call)
    except MeshibotError as error:
        return _error(call, _status(error), Redactor(site.settings.secrets)(str(error)))
    except HTTPException as error:
        return _no_page(call, error)


def _status(error: MeshibotError) -> int:
    if isinstance(error, DatabaseFailure | DatabaseNewer):
        return 503
    return 400 if isinstance(error, UsageError) else 409


def _answer(
    site: Site, page: Callable[[Call, Exception], Response]
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        request.scope.setdefault("state", {}).setdefault("logged_in", False)
        return page(Call(site, request, {}, language_of(request, site.settings)), error)

    return answer


def _no_page(call: Call, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    says = {404: "There is no such page.", 405: "That can't be done here."}.get(status, "That did not work.")
    return _error(call, status, says)


def _broken(call: Call, error: Exception) -> Response:
    log.error("%s %s failed", call.request.method, call.request.url.path, exc_info=error)
    return _error(call, 500, "Something is wrong here: `meshibot web` has logged what.")


def _error(call: Call, status: int, says: str) -> Response:
    """The sentence; in a language that has none of its own for it, below what kind of thing it is."""
    kind = {400: "error_input", 409: "error_state", 503: "error_database"}.get(status, "error_other")
    return call.render("error.html", status, says=says, kind=kind)


class _Checked(StaticFiles):
    """Static files, of which a browser asks each time whether they changed: a 304 is quick, and never old."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As Starlette makes it, with that said."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
