"""Who may come in: a token in a file, links that let one in once, and the cookie of those who are in.

Links and cookies are signed with the token, so nothing of them is stored: a new token ends them all.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from meshibot.errors import MeshibotError, UsageError

LINK_LASTS = 600
"""Seconds in which a link lets somebody in, once."""
SESSION_LASTS = 30 * 86_400
"""Seconds until one has to come in anew."""

_BYTES = 32


def token_file(home: Path) -> Path:
    """Where the token lies."""
    return home / "web-token"


def read_token(home: Path) -> str:
    """The token, made where there is none. Its file is readable to its owner alone.

    UsageError where others may read it, or where it is too short to be one; MeshibotError where it can't be
    read, or can't be written: then nothing is left of it.
    """
    file = token_file(home)
    try:
        if not file.exists():
            _write_new(file)
        if file.stat().st_mode & 0o077:
            raise UsageError(f"{file} can be read by others: run `chmod 600 {file}`.")
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise MeshibotError(
            f"{file} can't be used ({error.strerror}): make room, or make it and its folder this user's own."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} holds no token: remove it, a new one is made.") from error
    if len(token) < _BYTES:
        raise UsageError(f"The token in {file} is too short: remove the file, a new one is made.")
    return token


def _write_new(file: Path) -> None:
    text = secrets.token_urlsafe(_BYTES) + "\n"
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w", encoding="ascii") as new:
            new.write(text)
    except OSError:
        file.unlink()  # what is left would be in the way when there is room again
        raise


@dataclass
class Access:
    """Lets in who knows the token, has a fresh link, or came in before."""

    token: str
    instance: str
    """Of which installation: cookies are shared by all ports of a host, so it is in the cookie's name."""
    now: Callable[[], float] = time.time
    _used: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def cookie(self) -> str:
        """The cookie's name."""
        return f"meshibot_{hashlib.sha256(self.instance.encode()).hexdigest()[:12]}"

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def new_link(self) -> str:
        """A code that lets somebody in, once and soon."""
        return self._signed("link", LINK_LASTS)

    def new_session(self) -> str:
        """A cookie's value."""
        return self._signed("session", SESSION_LASTS)

    def is_session(self, value: str) -> bool:
        """Whether a cookie's value is one of ours, and not too old."""
        return self._until("session", value) is not None

    def use_link(self, code: str) -> bool:
        """Whether a code lets in; it never does so again."""
        until = self._until("link", code)
        if until is None:
            return False
        with self._lock:
            now = self.now()
            self._used = {used: end for used, end in self._used.items() if end > now}
            if code in self._used:
                return False
            self._used[code] = until
            return True

    def _signed(self, purpose: str, lasts: float) -> str:
        text = f"{int(self.now() + lasts)}.{secrets.token_urlsafe(12)}"
        return f"{text}.{self._signature(purpose, text)}"

    def _until(self, purpose: str, value: str) -> float | None:
        """When it ends; None for what is not ours, or over."""
        text, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(purpose, text).encode()):
            return None
        until = int(text.partition(".")[0])
        return until if until > self.now() else None

    def _signature(self, purpose: str, text: str) -> str:
        said = f"{purpose}|{self.instance}|{text}"
        return hmac.new(self.token.encode(), said.encode(), "sha256").hexdigest()
