"""Pictures as files, by what they contain: a browser may keep them for good."""

from starlette.responses import FileResponse, RedirectResponse, Response

from meshibot.web.pictures import MISSING, tag_of
from meshibot.web.site import Call

_KEPT = {"Cache-Control": "private, max-age=31536000, immutable"}


def sized(call: Call) -> Response:
    """A picture at a size."""
    given = call.request.path_params
    side = given["side"]
    known = side.isascii() and side.isdigit() and len(side) < 6
    file = call.site.pictures.sized(given["sha256"], int(side)) if known else None
    if file is None:
        return Response(MISSING, 404, {"Cache-Control": "no-store"}, "image/svg+xml")
    tag = tag_of(file)
    if call.request.headers.get("if-none-match") == tag:
        return Response(None, 304, _KEPT | {"ETag": tag})
    return FileResponse(file, headers=_KEPT | {"ETag": tag}, media_type="image/webp")


def favicon(call: Call) -> Response:
    """Where browsers look for it that read no page."""
    return RedirectResponse("/static/favicon.svg", 301)
