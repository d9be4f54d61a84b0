"""Logging for people or for machines, with every secret taken out of what is written.

The redaction happens where a record becomes text, after arguments, tracebacks and extra fields have been
put in: so nothing that a library logs (tweepy and oauthlib write tokens at DEBUG) gets past it.
"""

import json
import logging
import logging.handlers
import re
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO
from urllib.parse import quote

HIDDEN = "[redacted]"

_SHORTEST_SECRET = 4
"""A shorter value would blank out ordinary words, and keeps nothing secret anyway."""

_LONGEST = 2000
"""Characters of a line."""

_PATTERNS = (
    # A header as curl, http.client, a dict or a list of pairs would show it, to the end of its value.
    re.compile(
        r"(?P<keep>authorization\\?[\"']?\s*[:=,]\s*)b?(?P<quote>\\?[\"']).*?(?P=quote)(?=\s*[,})\]\n]|$)",
        re.I,
    ),
    re.compile(r"(?P<keep>authorization\s*[:=]\s*)(?![\"'\\]|b[\"'])[^\r\n]+", re.I),
    re.compile(r"(?P<keep>\b(?:OAuth|Bearer|Basic)\s+)(?=\S*\d)[A-Za-z0-9+/_=.~%-]{8,}"),
    # oauth_token=…, ('oauth_token', '…'), "oauth_token": "…", and both encodings of a signature base string.
    re.compile(
        r"(?P<keep>oauth_(?:token|consumer_key|signature|nonce|verifier|callback)(?:_secret)?"
        r"(?:\\?[\"']?\s*[=:,]\s*b?\\?[\"']?|%(?:25)*3D))(?:(?!%(?:25)*26)[^\s\"'&,)\]}\\])+",
        re.I,
    ),
    # oauthlib's client when it shows itself.
    re.compile(r"(?P<keep>(?:client_key|client_secret|resource_owner_key|resource_owner_secret)=)[^\s,)>]+"),
    # A password in an address, such as a database's.
    re.compile(r"(?P<keep>://[^\s/:@]*:)[^\s/@]+(?=@)"),
)


class Redactor:
    """Takes known secrets, and what looks like one, out of a text.

    Its own repr shows none of them.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                once = quote(secret, safe="")
                forms |= {secret, once, quote(once, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
        # The longest first: one secret may be the beginning of another.
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        self._known = re.compile(alternatives) if alternatives else None

    def __repr__(self) -> str:
        return "Redactor()"

    def __call__(self, text: str) -> str:
        """`text` with `[redacted]` in every secret's place."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<keep>{HIDDEN}", text)
        return text


class TextFormatter(logging.Formatter):
    """One line for a person: local time, level, module, message; a traceback below it where there is one."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("{asctime} {levelname:<7} {name}: {message}", "%Y-%m-%d %H:%M:%S", style="{")
        self._redact = redact

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        """The line without a traceback, which is never cut."""
        return _cut(self._redact(super().formatMessage(record)))

    def format(self, record: logging.LogRecord) -> str:
        """The redacted text of a record."""
        return self._redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON document a line: `time` (UTC), `level`, `logger`, `message`, `exception`, and the extra."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The redacted JSON of a record."""
        entry: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _ORDINARY and name not in entry:
                entry[name] = str(value)
        # Each field before it is encoded: an escaped quote would otherwise hide a header from its pattern.
        redacted = {name: self._redact(value) for name, value in entry.items()}
        whole = ("exception", "stack")
        return json.dumps(
            {name: value if name in whole else _cut(value) for name, value in redacted.items()},
            ensure_ascii=False,
        )


def _cut(text: str) -> str:
    """A line of a length that can be read: libraries write whole bodies. After the secrets are out of it."""
    beyond = len(text) - _LONGEST
    return text if beyond <= 0 else f"{text[:_LONGEST]}… ({beyond} more characters)"


def hide_in_tracebacks(redact: Redactor) -> None:
    """Have Python print the traceback that ends the process without secrets."""

    def print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = print_redacted


_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "taskName"}


def configure_logging(
    level: int = logging.INFO,
    form: Literal["text", "json"] = "text",
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Send all logging to `stream` (default: standard error) and to `file` (5 files of 2 MB in turn).

    Replaces the handlers that the root logger has. Libraries speak from WARNING on, unless `level` is DEBUG;
    the scheduler, which only rings bells, when something of it fails.
    """
    redact = Redactor(secrets)
    formatter = JsonFormatter(redact) if form == "json" else TextFormatter(redact)
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stderr)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                file, maxBytes=2_000_000, backupCount=4, encoding="utf-8", delay=True
            )
        )
    # What logging itself says of a record that can't be written (a full disk) holds the bare arguments.
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    logging.getLogger("meshibot").setLevel(level)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
