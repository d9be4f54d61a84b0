"""What every page works with: settings, database, pictures, and one call of a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from meshibot import __version__
from meshibot.agenda import Taking
from meshibot.config import Account, Settings
from meshibot.database import Database
from meshibot.database.queries import LARGEST_ID
from meshibot.errors import UsageError
from meshibot.gallery import Likeness
from meshibot.kinds import DRAWN_ANEW, PICTURES
from meshibot.metrics import Metrics
from meshibot.slots import Schedule, schedule_of
from meshibot.slots.changes import Desk
from meshibot.stock.inventory import fingerprint
from meshibot.web import times
from meshibot.web.access import Access
from meshibot.web.pictures import Pictures
from meshibot.web.sentences import in_japanese
from meshibot.web.words import LANGUAGES, NAMES, Language, preferred, say

BY = "web page"
"""Who acts, in the events."""
LANGUAGE_COOKIE = "meshibot_language"


@dataclass(frozen=True)
class Site:
    """One bot, as the page shows it."""

    settings: Settings
    database: Database
    access: Access
    pictures: Pictures
    metrics: Metrics
    run: Path | None = None
    """A training's folder."""
    secure: bool = False
    likeness: Likeness = field(default_factory=Likeness)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def account(self, name: str) -> Account:
        """The account of this name, or the first one where it is empty. UsageError where there is none."""
        return self.settings.account(name) if name else self.settings.accounts[0]

    def desk(self, name: str) -> Desk:
        """An account whose slots are changed here."""
        account = self.account(name)
        return Desk(
            self.database,
            account.name,
            account.publisher,
            schedule_of(account),
            BY,
            self.now,
            preferred=lambda: fingerprint(self.settings.checkpoint_file),
            reviewed=account.review == "required",
        )

    def takes(self, name: str) -> Callable[[date], Taking]:
        """What a post of an account takes out of the stock on a day."""
        mix = self.account(name).kinds

        def taking(day: date) -> Taking:
            kind = mix.on(day)
            return Taking(PICTURES[kind], preferred_alone=kind in DRAWN_ANEW)

        return taking

    def schedule(self, name: str) -> Schedule:
        """When an account posts."""
        return schedule_of(self.account(name))


@dataclass(frozen=True)
class Call:
    """A request to a page, its form, and the language of the answer."""

    site: Site
    request: Request
    form: Mapping[str, Sequence[str]]
    language: Language

    def text(self, name: str, default: str = "") -> str:
        """A field of the form, or of the address where there is no form.

        Without NUL, which no key types and PostgreSQL's texts can't have.
        """
        if self.request.method == "POST":
            said = next(iter(self.form.get(name, ())), default)
        else:
            said = self.request.query_params.get(name, default)
        return said.replace("\x00", "")

    def number(self, name: str) -> int | None:
        """The same as an id; None where it is not said. UsageError for what is none."""
        return number(self.text(name), name)

    def render(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page."""
        page = _environment().get_template(template)
        frame = {
            "call": self,
            "t": self.say,
            "language": self.language,
            "languages": NAMES,
            "here": self.request.url.path,
            "address": str(self.request.url.path)
            + (f"?{self.request.url.query}" if self.request.url.query else ""),
            "logged_in": self.request.state.logged_in,
            "has_run": self.site.run is not None,
            "program": __version__,
            "several": len(self.site.settings.accounts) > 1,
        }
        return HTMLResponse(page.render(**frame | values), status)

    def say(self, key: str, **values: object) -> str:
        """A text of ours in the language of the answer."""
        return say(self.language, key, **values)

    def translated(self, sentence: str) -> str | None:
        """A sentence of the bot's in the language of the answer; None where it has the English one alone."""
        return in_japanese(sentence) if self.language == "ja" else sentence

    def moment(self, at: datetime, zone: tzinfo | None = None) -> str:
        """A moment on the clocks of an account, by default of the first one."""
        return times.moment(self.language, at, zone or self.zone, self.site.now())

    def distance(self, at: datetime) -> str:
        """How far away it is."""
        return times.distance(self.language, at, self.site.now())

    def day(self, when: date) -> str:
        return times.day(self.language, when)

    def weekday(self, when: date) -> str:
        return times.weekday(self.language, when)

    @property
    def zone(self) -> tzinfo:
        """The first account's time zone."""
        return self.site.settings.accounts[0].timezone

    def zone_of(self, account: str) -> tzinfo:
        """An account's time zone, or the first one's where it is no longer in the settings."""
        known = {each.name: each.timezone for each in self.site.settings.accounts}
        return known.get(account, self.zone)


def number(text: str, name: str) -> int | None:
    """An id as it stands in an address or a form."""
    if not text:
        return None
    found = as_id(text)
    if found is None:
        raise UsageError(f"{name} is {text[:40]!r}, which is no number of anything here.")
    return found


def as_id(text: str) -> int | None:
    """The number that a text is; None where no row could have it."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > LARGEST_ID:
        return None
    return int(text)


def go(path: str, /, **query: object) -> Response:
    """To a page of ours, after something was done."""
    said = {name: value for name, value in query.items() if value not in (None, "")}
    return RedirectResponse(f"{path}?{urlencode(said)}" if said else path, 303)


def safe_path(path: str) -> str:
    """A path of ours that a form named; the start page for anything else."""
    ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if ours and path.isascii() else "/"


def link(path: str, /, **query: object) -> str:
    """An address of ours."""
    said = {name: value for name, value in query.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(said)}" if said else path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("meshibot.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.0%}"
    environment.globals["link"] = link
    return environment


def language_of(request: Request, settings: Settings) -> Language:
    """Cookie, then Accept-Language, then what the first account's captions are in."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    for known in LANGUAGES:
        if known == chosen:
            return known
    usual: Language = "ja" if settings.accounts[0].captions == "ja" else "en"
    return preferred(request.headers.get("accept-language", "")) or usual
