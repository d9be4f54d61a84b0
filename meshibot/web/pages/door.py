"""Coming in and going out, and the language."""

from starlette.responses import Response

from meshibot.web.access import SESSION_LASTS
from meshibot.web.site import LANGUAGE_COOKIE, Call, go, safe_path
from meshibot.web.words import LANGUAGES

_YEAR = 365 * 86_400


def show(call: Call) -> Response:
    """The door. A link's code is only shown back: it is used up by the form, not by looking."""
    return call.render("login.html", once=call.text("once")[:200], failed=False)


def enter(call: Call) -> Response:
    """In, with a token or a link's code."""
    access = call.site.access
    once, token = call.text("once"), call.text("token").strip()
    if not (access.use_link(once) if once else access.knows(token)):
        return call.render("login.html", 403, once="", failed=True)
    answer = go("/")
    answer.set_cookie(
        access.cookie,
        access.new_session(),
        max_age=SESSION_LASTS,
        path="/",
        secure=call.site.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


def leave(call: Call) -> Response:
    """Out."""
    answer = go("/login")
    answer.delete_cookie(call.site.access.cookie, path="/", httponly=True, samesite="strict")
    return answer


def choose_language(call: Call) -> Response:
    """Another language, and back to where it was chosen."""
    answer = go(safe_path(call.text("next")))
    if call.text("language") in LANGUAGES:
        answer.set_cookie(
            LANGUAGE_COOKIE, call.text("language"), max_age=_YEAR, secure=call.site.secure, samesite="lax"
        )
    return answer
