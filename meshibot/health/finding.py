"""One line of `check`, and how a look becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from meshibot.errors import MeshibotError
from meshibot.views import Json
from trainer.errors import TrainerError

Level = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and the one thing to do about it."""

    subject: str
    level: Level
    says: str

    def to_json(self) -> Json:
        return {"subject": self.subject, "level": self.level, "says": self.says}


def looked(subject: str, look: Callable[[], tuple[Level, str]]) -> Finding:
    """A look as a finding; what it raises is the finding too."""
    try:
        level, says = look()
    except (MeshibotError, TrainerError) as error:
        return Finding(subject, "failed", str(error))
    except OSError as error:
        return Finding(subject, "failed", f"{error.filename or subject}: {error.strerror}.")
    return Finding(subject, level, says)
