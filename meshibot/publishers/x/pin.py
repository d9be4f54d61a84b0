"""The PIN flow: X makes an account's two tokens, once its owner has allowed the app in a browser.

OAuth 1.0a with an out-of-band callback (RFC 5849, section 2; docs.x.com, PIN-based OAuth): a request token, a
link for the owner, the PIN that X shows, and the access token for it.
"""

import logging
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import requests
from requests_oauthlib import OAuth1

from meshibot.errors import MeshibotError, UsageError
from meshibot.publishers.answers import NoAnswer
from meshibot.publishers.transport import Adapter, Timeouts

HOST = "https://api.twitter.com"
_NO_PIN = re.compile(r"callback|desktop applications|\b415\b|\b417\b", re.I)


class WrongPin(MeshibotError):  # noqa: N818 (an outcome, and named as one)
    """X does not take the PIN; another one may be typed."""


@dataclass(frozen=True)
class Tokens:
    """What an account's owner has allowed."""

    access_token: str = field(repr=False)
    access_token_secret: str = field(repr=False)
    name: str
    """The account's, as X says it."""


class PinFlow:
    """One try, from the link to the tokens; `close` it when done."""

    def __init__(self, consumer_key: str, consumer_secret: str, api_base: str | None = None) -> None:
        # They write what they sign with, at DEBUG, and nobody knows these tokens yet to take them out.
        for name in ("oauthlib", "requests_oauthlib"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._app = (consumer_key.strip(), consumer_secret.strip())
        self._session = requests.Session()
        self._session.mount(HOST, Adapter(api_base, Timeouts()))
        self._request = ("", "")

    def link(self) -> str:
        """Where the owner allows the app, logged in as the account that is to post.

        Raises UsageError where X doesn't take the app's two values, or gives it no PIN.
        """
        response = self._ask("request_token", OAuth1(*self._app, callback_uri="oob"))
        if response.status_code in (400, 401, 403) and _NO_PIN.search(response.text):
            raise UsageError(
                "X gives this app no PIN: in its User authentication settings choose 'Read and write' and "
                "'Native App', or make the two access tokens at console.x.com and type them."
            )
        if response.status_code in (400, 401, 403):
            raise UsageError(
                f"X refuses the consumer key and secret ({response.status_code}): copy both anew from "
                "console.x.com, your app, Keys and tokens, and set this machine's clock right."
            )
        answer = _form(response)
        self._request = (answer["oauth_token"], answer["oauth_token_secret"])
        return f"{HOST}/oauth/authorize?oauth_token={answer['oauth_token']}"

    def tokens(self, pin: str) -> Tokens:
        """The account's tokens. Raises WrongPin where the PIN is not the one that X showed."""
        token, secret = self._request
        signature = OAuth1(
            *self._app, resource_owner_key=token, resource_owner_secret=secret, verifier=pin.strip()
        )
        response = self._ask("access_token", signature)
        if response.status_code in (400, 401, 403):
            raise WrongPin(f"X does not take that PIN ({response.status_code}).")
        answer = _form(response)
        name = re.sub(r"\W", "", answer.get("screen_name", ""))
        return Tokens(answer["oauth_token"], answer["oauth_token_secret"], name)

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _ask(self, step: str, signature: OAuth1) -> requests.Response:
        try:
            return self._session.post(f"{HOST}/oauth/{step}", auth=signature, allow_redirects=False)
        except NoAnswer as error:
            raise MeshibotError(f"X can't be reached ({error.why}): try again.") from None


def _form(response: requests.Response) -> dict[str, str]:
    """An answer's fields. MeshibotError where it is no pair of tokens."""
    answer = dict(parse_qsl(response.text))
    if response.status_code != 200 or not answer.get("oauth_token") or not answer.get("oauth_token_secret"):
        raise MeshibotError(f"X answered {response.status_code} and gave no token: try again later.")
    return answer
