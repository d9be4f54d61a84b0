"""The ways by which notices are told. Each call ends within seconds; what fails is tried again later."""

import hashlib
import hmac
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from meshibot import __version__
from meshibot.children import child_environment
from meshibot.config import Settings
from meshibot.errors import MeshibotError
from meshibot.logs import Redactor
from meshibot.notices.book import Message

log = logging.getLogger(__name__)

PATIENCE = (5.0, 8.0, 10.0)
"""Seconds to connect, for the answer, and in all."""
APPRISE_PATIENCE = 60.0
"""Seconds. Apprise may ask several services."""


class NotTold(MeshibotError):  # noqa: N818 (an outcome)
    """It could not be told. The sentence names no address: those are secrets."""


class Way(Protocol):
    """One place where notices are told."""

    name: str

    def tell(self, messages: Sequence[Message]) -> None:
        """Tell all of these, in one call where that can be. Raises NotTold."""
        ...


class Ntfy:
    """A topic of ntfy: its JSON form, for headers can't hold Japanese."""

    name = "ntfy"

    def __init__(self, address: str, token: str | None) -> None:
        parts = urlsplit(address)
        root, _, self._topic = parts.path.rpartition("/")
        self._server = f"{parts.scheme}://{parts.netloc}{root}"
        self._token = token

    def tell(self, messages: Sequence[Message]) -> None:
        """One message for all."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        body = {
            "topic": self._topic,
            "title": title_of(messages),
            "message": text_of(messages),
            "priority": 4 if any(message.is_urgent for message in messages) else 3,
            "tags": ["ramen"],
        }
        ask(self.name, "POST", self._server, json.dumps(body, ensure_ascii=False).encode(), headers)


class Webhook:
    """A POST of JSON for each notice, signed where there is a key.

    `X-Meshibot-Signature` is `sha256=` and the HMAC of `X-Meshibot-Timestamp`, a full stop, and the body.
    """

    name = "webhook"

    def __init__(self, address: str, key: str | None) -> None:
        self._address = address
        self._key = key

    def tell(self, messages: Sequence[Message]) -> None:
        """Each with the id of its notice, by which a receiver knows a repetition."""
        for message in messages:
            body = json.dumps(
                {
                    "id": f"{message.id}-{message.state}",
                    "kind": message.kind,
                    "account": message.account,
                    "state": message.state,
                    "text": message.text,
                    "at": message.at.isoformat(timespec="seconds"),
                },
                ensure_ascii=False,
            ).encode()
            stamp = str(int(time.time()))
            headers = {"X-Meshibot-Timestamp": stamp}
            if self._key:
                headers["X-Meshibot-Signature"] = f"sha256={signature(self._key, stamp, body)}"
            ask(self.name, "POST", self._address, body, headers)


class Apprise:
    """Whatever Apprise can reach, in a process of its own: it is slow to import, and any service may hang."""

    name = "apprise"

    def __init__(self, addresses: str) -> None:
        self._addresses = addresses.split()

    def tell(self, messages: Sequence[Message]) -> None:
        """One message for all."""
        request = {"urls": self._addresses, "title": title_of(messages), "body": text_of(messages)}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "meshibot.notices.apprise_child"],
                input=json.dumps(request),
                env=child_environment(networks=True),
                capture_output=True,
                text=True,
                timeout=APPRISE_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotTold(f"Apprise did not come to an end ({type(error).__name__}).") from None
        if done.returncode == 3:
            raise NotTold("Apprise is not installed: pip install 'meshibot[notify]'.")
        if done.returncode != 0:
            raise NotTold("Apprise could not reach every service of MESHIBOT_NOTIFY_APPRISE.")


class Ping:
    """A monitor that expects a sign of life, as Healthchecks does: sent after a slot, and once a day."""

    name = "ping"

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def tell(self, messages: Sequence[Message]) -> None:
        """What is wrong, as a failure; that it is over is said by the next sign of life."""
        if any(message.is_urgent for message in messages):
            ask(self.name, "POST", f"{self._address}/fail", text_of(messages).encode(), {})
        else:
            self.live(text_of(messages))

    def live(self, says: str) -> None:
        """All is well."""
        ask(self.name, "POST", self._address, says.encode(), {})


def ways(settings: Settings) -> list[Way]:
    """Those that the settings name."""

    def said(name: str) -> str | None:
        value = getattr(settings, f"notify_{name}")
        return value.get_secret_value() if value is not None else None

    found: list[Way] = []
    if (address := said("ntfy")) is not None:
        found.append(Ntfy(address, said("ntfy_token")))
    if (address := said("webhook")) is not None:
        found.append(Webhook(address, said("webhook_key")))
    if (address := said("apprise")) is not None:
        found.append(Apprise(address))
    if (address := said("ping")) is not None:
        found.append(Ping(address))
    return found


def title_of(messages: Sequence[Message]) -> str:
    """In a few words."""
    return messages[0].title if len(messages) == 1 else f"meshibot: {len(messages)} notices"


def text_of(messages: Sequence[Message]) -> str:
    """All of them, a line each."""
    return "\n".join(message.text for message in messages)


def signature(key: str, stamp: str, body: bytes) -> str:
    """What a receiver compares: HMAC-SHA256 in hexadecimal."""
    return hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def ask(way: str, method: str, address: str, body: bytes, headers: dict[str, str]) -> None:
    """One request, within PATIENCE, no redirects. Raises NotTold unless the answer is 2xx."""
    import requests  # for those who are told something

    from meshibot.publishers.answers import NoAnswer
    from meshibot.publishers.transport import Adapter, Timeouts

    session: Any = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(None, Timeouts(*PATIENCE)))
    kind = "application/json" if body[:1] == b"{" else "text/plain; charset=utf-8"
    whole = {"User-Agent": f"meshibot/{__version__}", "Content-Type": kind, **headers}
    try:
        with session:
            answer = session.request(
                method,
                address,
                data=body,
                headers=whole,
                auth=lambda request: request,  # a .netrc would put its own in a token's place
                allow_redirects=False,
            )
    except (NoAnswer, OSError, ValueError) as error:
        reason = str(error) if isinstance(error, NoAnswer) else type(error).__name__
        raise NotTold(f"The {way} did not answer: {Redactor((address,))(reason)}.") from None
    if not 200 <= answer.status_code < 300:
        raise NotTold(f"The {way} answered {answer.status_code}.")
