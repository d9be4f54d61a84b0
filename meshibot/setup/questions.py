"""Questions to a person. What a flag, the environment or a file has answered is not asked."""

import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshibot.errors import UsageError
from meshibot.layered import variable


@dataclass(frozen=True)
class Questions:
    """`given` are the answers of flags by name; `secrets` those of a file, by the name of the setting."""

    given: Mapping[str, str | None]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    asks: bool = True
    """Whether a person may be asked at all."""

    def ask(self, name: str, question: str, default: str | None = None) -> str:
        """An answer that is not empty. UsageError without one where nobody may be asked."""
        given = self.given.get(name)
        if given is not None:
            return given
        if not self.asks:
            if default is not None:
                return default
            raise UsageError(f"--{name.replace('_', '-')} is missing, and --no-input asks nobody: give it.")
        while True:
            answer = _read(f"{question}{f' [{default}]' if default else ''}: ") or default or ""
            if answer:
                return answer

    def choose(self, name: str, question: str, choices: Sequence[str], default: str) -> str:
        """One of the choices. UsageError for a flag that is none of them."""
        while True:
            answer = self.ask(name, f"{question} ({', '.join(choices)})", default).lower()
            if answer in choices:
                return answer
            if self.given.get(name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {answer!r}: choose one of {', '.join(choices)}."
                )
            _say(f"Choose one of {', '.join(choices)}.")

    def secret(self, setting: str, question: str, *, or_none: bool = False) -> str:
        """A secret: from the environment or the file, else typed unseen. UsageError as `ask` raises it.

        `or_none` lets a person answer with nothing.
        """
        known = os.environ.get(variable(setting)) or self.secrets.get(variable(setting))
        if known:
            return known.strip()
        if not self.asks:
            raise UsageError(
                f"{variable(setting)} is missing, and --no-input asks nobody: set it in the environment or "
                "in the file of --secrets."
            )
        while True:
            answer = _read_unseen(f"{question}: ")
            if answer or or_none:
                return answer

    def has_secret(self, setting: str) -> bool:
        """Whether it was given before."""
        return bool(os.environ.get(variable(setting)) or self.secrets.get(variable(setting)))

    def agrees(self, question: str, *, otherwise: bool) -> bool:
        """A yes or no; `otherwise` is meant by an empty answer, and where nobody may be asked."""
        if not self.asks:
            return otherwise
        answer = _read(f"{question} [{'Y/n' if otherwise else 'y/N'}]: ").lower()
        return otherwise if not answer else answer.startswith("y")

    def wait(self, question: str) -> None:
        """Until a person says that it is done."""
        _read(question)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _read(prompt: str) -> str:
    """A line, without the space around it. UsageError where there is nobody any more."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        _say("")
        raise UsageError("The questions were not answered: give flags with --no-input, or type the answers.")
    return line.strip()


def _read_unseen(prompt: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(prompt, stream=sys.stderr).strip()
    return _read(prompt)
