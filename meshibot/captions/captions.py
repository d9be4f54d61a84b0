"""Which words a post gets: always the same for the same account, serial, kind and moment."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from meshibot.captions import own, words
from meshibot.captions.own import ALT_TEXT_FIELDS, CAPTION_FIELDS, Template
from meshibot.captions.words import Language, Occasion
from meshibot.errors import UsageError
from meshibot.kinds import Kind
from meshibot.quiet import QuietHours

WIDEST_SERIAL = 999_999

_SETTING = "MESHIBOT_CAPTIONS"
_MARKERS = re.compile(r"(?<![0-9A-Za-z])No\.([0-9]{4,9})(?![0-9A-Za-z])")
_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def marker(serial: int) -> str:
    """The serial as a caption shows it: 42 is `No.0042`, 12345 is `No.12345`."""
    return f"No.{serial:04d}"


def serials_in(text: str) -> tuple[int, ...]:
    """The serials whose markers a text has, each apart from ASCII letters and digits, as publishers look."""
    return tuple(int(digits) for digits in _MARKERS.findall(text) if marker(int(digits)) == f"No.{digits}")


@dataclass(frozen=True)
class Line:
    """A line, or an owner's template, and when it is said; None is at any time."""

    text: str
    when: Occasion | QuietHours | None = None

    def suits(self, at: datetime) -> bool:
        """Whether it may be said at this moment, in the account's own time zone."""
        if self.when is None:
            return True
        return words.is_in(self.when, at) if isinstance(self.when, str) else at in self.when


@dataclass(frozen=True)
class Said:
    """The caption of an earlier post, and what it was made of."""

    caption: str
    serial: int
    at: datetime
    kind: Kind


@dataclass(frozen=True)
class Captions:
    """The captions of one account: its language, and the lines that take turns by serial."""

    language: Language
    turns: tuple[Line, ...]
    """In the account's own order."""
    labelled: bool
    """Whether marker and label are added below the line; the owner's own template says what it wants."""
    subject: str | None = None
    """The food; None is ramen."""
    own_alt_text: str | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What is said, at whatever time."""
        return tuple(line.text for line in self.turns)

    def caption(
        self, serial: int, at: datetime, kind: Kind = Kind.SINGLE, lately: Sequence[Said] = ()
    ) -> str:
        """The caption of one post. `at` is the slot in the account's own time zone.

        No line of `lately`, the newest first, is said again; where all that suit are among them, the one that
        was said the longest ago.
        """
        suitable = [line for line in self.turns if line.suits(at)]
        turn = serial % len(suitable)
        in_turn = [*suitable[turn:], *suitable[:turn]]
        return self._say(min(in_turn, key=lambda line: self._recency(line, lately)), serial, at, kind)

    def _recency(self, line: Line, lately: Sequence[Said]) -> int:
        """0 for what was not said lately, and the more the later it was."""
        for ago, said in enumerate(lately):
            if self._was(line, said):
                return len(lately) - ago
        return 0

    def _was(self, line: Line, said: Said) -> bool:
        if self.labelled:  # whatever the label was then
            return said.caption.partition("\n")[0] == line.text
        return said.caption == self._say(line, said.serial, said.at, said.kind)

    def alt_text(self, kind: Kind = Kind.SINGLE) -> str:
        """What the picture is, in the caption's language, for those who don't see it."""
        if self.own_alt_text is not None:
            return self.own_alt_text.format(subject=self._food)
        return words.alt_text(self.language, kind, self.subject)

    def widest(self) -> Iterator[str]:
        """Each line with a serial as large as it gets in practice: what fits today fits for years."""
        at = datetime(2026, 12, 31, 23, 59)
        for line in self.turns:
            yield from (self._say(line, WIDEST_SERIAL, at, kind) for kind in Kind)

    def cautions(self) -> Iterator[str]:
        """What an owner should know before these captions are posted, a sentence each."""
        silent = [] if self.labelled else [line for line in self.lines if not own.says_generated(line)]
        if silent:
            yield (
                f"A caption in {_SETTING} does not say that the picture was made by AI "
                f"({_shortened(silent[0])}): say so, as readers and networks expect."
            )

    @property
    def _food(self) -> str:
        return self.subject or ("ラーメン" if self.language == "ja" else "ramen")

    def _say(self, line: Line, serial: int, at: datetime, kind: Kind) -> str:
        if self.labelled:
            return f"{line.text}\n{marker(serial)} ({words.label(self.language, kind, self.subject)})"
        return line.text.format(
            marker=marker(serial),
            serial=serial,
            time=at.strftime("%H:%M"),
            date=at.strftime("%Y-%m-%d"),
            subject=self._food,
        )


def load_captions(
    setting: str | Sequence[str] | Path,
    *,
    account: str = "main",
    subject: str | None = None,
    alt_text: str | None = None,
) -> Captions:
    """The captions that MESHIBOT_CAPTIONS names: `ja`, `en`, a template, a list of them, or a file of them.

    A template may use {marker}, {serial}, {time} (23:30), {date} (2026-11-24), in the account's time zone,
    and {subject}, the food; one without {marker} gets it appended. A file has a template on each line, see
    `own.read_file`. Raises UsageError with one sentence about what is wrong.
    """
    food = None if subject is None else own.checked(_escaped(subject), (), "MESHIBOT_SUBJECT")
    food = food and food.format()
    alt = None if alt_text is None else own.checked(alt_text, ALT_TEXT_FIELDS, "MESHIBOT_ALT_TEXT")
    if setting in ("ja", "en"):
        language: Language = "ja" if setting == "ja" else "en"
        lines = [Line(*line) for line in words.lines(language, food)]
    else:
        lines = [_checked(template) for template in _own_templates(setting)] or [_checked(Template(""))]
        language = "ja" if any(_JAPANESE.search(line.text) for line in lines) else "en"
    ours = setting in ("ja", "en")
    captions = Captions(language, _shuffled(lines, account), labelled=ours, subject=food, own_alt_text=alt)
    for caption in captions.widest() if food or not ours else ():
        _require_postable(caption, "MESHIBOT_SUBJECT" if ours else f"The template in {_SETTING}")
    return captions


def words_for_one(caption: str) -> str:
    """The caption that a person wrote for one post, cleaned; `{marker}` stands for its serial.

    UsageError for what a template would be refused for.
    """
    text = own.shown(caption, "The caption")
    _require_postable(with_marker(text, WIDEST_SERIAL), "The caption")
    return text


def with_marker(caption: str, serial: int) -> str:
    """The caption that a person wrote before the serial was known, with the marker by which it is found."""
    filled = caption.replace("{marker}", marker(serial))
    return filled if serial in serials_in(filled) else f"{filled}\n{marker(serial)}"


def _require_postable(caption: str, what: str) -> None:
    """UsageError for what networks punish, and for serials by which no post is found, or another one."""
    if own.mentions(caption):
        raise UsageError(
            f"{what} mentions an account: networks suspend accounts for automated mentions, so take the @ "
            "out."
        )
    found = serials_in(caption)
    if WIDEST_SERIAL not in found:
        raise UsageError(
            f"{what} has a letter or a digit that touches {{marker}}, by which a post is found again: put a "
            "space between them."
        )
    if others := [serial for serial in found if serial != WIDEST_SERIAL]:
        raise UsageError(
            f"{what} has {marker(others[0])}, by which another post is found: write that number otherwise."
        )


def _own_templates(setting: str | Sequence[str] | Path) -> Sequence[Template]:
    if isinstance(setting, Path):
        return own.read_file(setting)
    if not isinstance(setting, str):
        return [Template(text) for text in setting]
    if (meant := own.meant_language(setting)) is not None:
        raise UsageError(f"{_SETTING} is {setting!r}: did you mean {meant}?")
    return [Template(setting)]


def _checked(template: Template) -> Line:
    text = own.checked(template.text, CAPTION_FIELDS, _SETTING)
    if not text:
        raise UsageError(
            f"{_SETTING} is empty: set it to ja, en or a template such as 'Ramen at {{time}} {{marker}}'."
        )
    return Line(text, template.when)


def _shuffled(lines: Sequence[Line], account: str) -> tuple[Line, ...]:
    """In an order that is the account's own and stays, also when a line comes or goes."""

    def place(line: Line) -> str:
        return hashlib.sha256(f"{account}\n{line.text}".encode()).hexdigest()

    return tuple(sorted(lines, key=place))


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
