"""Tokens that a network makes for us, once its account's owner says so in a browser."""

import base64
import hashlib
import secrets
import sys
import uuid
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

from meshibot.errors import MeshibotError, UsageError
from meshibot.publishers.server import Server, common_answers
from meshibot.setup.questions import Questions

_OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
_SCOPES = "read:accounts read:statuses write:media write:statuses"
_PERMISSIONS = "write:notes,write:drive,read:account"
_PINS = 3
"""Tries to type it."""
_HOME = "https://pypi.org/project/meshibot/"


def _said(body: Mapping[str, Any]) -> tuple[object, object]:
    return body.get("error_description") or body.get("error"), body.get("error")


def _server(title: str, address: str) -> Server:
    return Server(title, address, common_answers("the server's address", "then try again."), _said)


def mastodon_token(address: str, questions: Questions) -> str:
    """Register an app, have the owner allow it, and take the code that the server shows.

    OAuth 2 with an out-of-band redirect and PKCE (docs.joinmastodon.org, Obtaining client app access).
    """
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with closing(_server("Mastodon", address)) as server:
        app = server.object(
            "read",
            server.ask(
                "read",
                "POST",
                "/api/v1/apps",
                json={
                    "client_name": "meshibot",
                    "redirect_uris": _OUT_OF_BAND,
                    "scopes": _SCOPES,
                    "website": _HOME,
                },
            ),
        )
        client = {"client_id": str(app.get("client_id")), "redirect_uri": _OUT_OF_BAND, "scope": _SCOPES}
        link = urlencode(
            {"response_type": "code", **client, "code_challenge": challenge, "code_challenge_method": "S256"}
        )
        _show(f"{address}/oauth/authorize?{link}")
        code = questions.ask("code", "The code that it shows then")
        answer = server.object(
            "read",
            server.ask(
                "read",
                "POST",
                "/oauth/token",
                json={
                    "grant_type": "authorization_code",
                    "code": code,
                    "client_secret": str(app.get("client_secret")),
                    "code_verifier": verifier,
                    **client,
                },
            ),
        )
    return _token(answer.get("access_token"), address)


def x_tokens(app: Mapping[str, str], api_base: str | None, questions: Questions) -> dict[str, str]:
    """X's PIN flow: from the app's two settings to the account's. UsageError after the third wrong PIN."""
    from meshibot.publishers.x.pin import PinFlow, WrongPin  # brings oauthlib

    with closing(PinFlow(app["x_consumer_key"], app["x_consumer_secret"], api_base)) as flow:
        _show(flow.link())
        for _ in range(_PINS):
            try:
                tokens = flow.tokens(questions.ask("pin", "The PIN that it shows then"))
            except WrongPin as error:
                print(error, file=sys.stderr)
                continue
            print(f"X knows it as @{tokens.name} now.", file=sys.stderr)
            return {
                "x_access_token": tokens.access_token,
                "x_access_token_secret": tokens.access_token_secret,
            }
    raise UsageError("X took none of the PINs: run it again for a new link, and type the PIN within minutes.")


def misskey_token(address: str, questions: Questions) -> str:
    """MiAuth: a link with a number of our own, and the token once the owner has clicked."""
    number = str(uuid.uuid4())
    _show(f"{address}/miauth/{number}?{urlencode({'name': 'meshibot', 'permission': _PERMISSIONS})}")
    questions.wait("Press Enter when you have allowed it there: ")
    with closing(_server("Misskey", address)) as server:
        answer = server.object("read", server.ask("read", "POST", f"/api/miauth/{number}/check", json={}))
    return _token(answer.get("token"), address)


def _show(link: str) -> None:
    print(
        f"Open this in a browser, as the account that is to post, and allow it:\n\n  {link}\n",
        file=sys.stderr,
    )


def _token(value: object, address: str) -> str:
    if not isinstance(value, str) or not value:
        raise MeshibotError(f"{address} gave no token: was it allowed in the browser? Try again.")
    return value
