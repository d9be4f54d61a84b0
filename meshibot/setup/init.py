"""The way through `meshibot init`: questions, then a look at the account as the files would have it."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from meshibot import health
from meshibot.config import Settings, load_settings
from meshibot.errors import UsageError
from meshibot.health import Finding
from meshibot.publishers import publisher_class
from meshibot.setup import files
from meshibot.setup.networks import NETWORKS
from meshibot.setup.questions import Questions


@dataclass(frozen=True)
class Prepared:
    """What is to be written, and how the account looks with it."""

    account: str
    publisher: str
    texts: files.Texts
    settings: Settings
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing is broken."""
        return health.exit_status(self.findings) < 2


def prepare(questions: Questions, folder: Path, now: datetime) -> Prepared:
    """Ask everything, and look at what comes of it; writes nothing. Raises UsageError and PublishError."""
    account = questions.ask("account", "A name for the account, for you alone", "main")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,49}", account):
        raise UsageError(
            f"The account name {account!r} can't be used: take lower-case letters, digits, - and _."
        )
    publisher = questions.choose("publisher", "Where does it post to", tuple(NETWORKS), "folder")
    answers = {"publisher": publisher, **NETWORKS[publisher].ask(questions)}
    answers["schedule"] = questions.ask("schedule", "When, as a cron line", "0 23 * * *")
    if questions.given.get("timezone"):
        answers["timezone"] = questions.ask("timezone", "")
    answers["captions"] = questions.ask("captions", "Captions: ja, en, or a template of your own", "ja")
    wanted = files.texts(account, answers, folder)
    with _as_if_written(wanted):
        settings = load_settings()
    price = publisher_class(publisher).price.check
    paid = bool(price) and questions.agrees(
        f"Ask {publisher_class(publisher).title} whose account it is? It costs ${price:.3f}",
        otherwise=questions.given.get("paid") is not None,
    )
    only = settings.model_copy(update={"accounts": (settings.account(account),)})
    return Prepared(account, publisher, wanted, only, health.check(only, now, paid=paid))


@contextmanager
def _as_if_written(wanted: files.Texts) -> Iterator[None]:
    """In a folder with the files as they would be; only the settings are read there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="meshibot-init-") as folder:
        files.write(Path(folder), wanted)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
