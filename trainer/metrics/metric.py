"""A figure beside its floor: what every judgement of pictures comes to. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure and its floor: the same figure between two halves of the held-out reals."""

    value: float
    floor: float | None = None
