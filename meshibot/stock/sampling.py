"""A child process, and so the place for torch: it samples, scores, chooses, writes PNGs, and ends.

`python -m meshibot.stock.sampling` reads a SamplingRequest as JSON from standard input and writes a
SamplingResult as JSON to standard output. A failure is one sentence, the last line of standard error, and
the exit status of the bot's own errors. Its other side is `meshibot.stock.sampler`, which needs no torch.
It knows nothing of the database.
"""

import hashlib
import io
import math
import random
import sys
import zlib
from collections.abc import Iterator, Sized
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from meshibot.errors import MeshibotError, NothingToDo
from meshibot.stock.child import answer
from meshibot.stock.sampler import SampledPicture, SamplingRequest, SamplingResult
from meshibot.stock.selection import Refusal, Rules, choose
from trainer.checkpoint import Checkpoint, load
from trainer.device import a_core_each
from trainer.files import atomic_write
from trainer.hashes import perceptual_hash
from trainer.memory import keep_freed_memory
from trainer.metadata import Metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_CHUNK = 8
_CHUNK_RESOLUTION = 128
"""Candidates that go through the networks at once, on each core, up to this resolution: eight times as many
take 290 MB more, and hardly less time. Beyond it as many fewer as they are larger."""
_MOST_CORES = 4
"""Each has a chunk in memory."""
_ROUND = 16
"""Pictures that are chosen at once: the best 16 of 64 are better than the best of each four, and as cheap."""
_LEAST = 8
"""Candidates of a round, however few pictures are missing."""


@dataclass
class _Tally:
    """What was seen so far."""

    candidates: int = 0
    believed: int = 0
    best_score: float = -math.inf
    refused: dict[Refusal, int] = field(default_factory=lambda: dict.fromkeys(Refusal, 0))


@dataclass(frozen=True)
class _Round:
    """Candidates of which the best are kept: seeds, scores and pixels (n, r, r, 3)."""

    seeds: list[int]
    scores: list[float]
    pixels: "Pixels"

    def best(self, count: int) -> list[int]:
        """The indexes of the `count` with the highest scores."""
        return sorted(range(len(self.scores)), key=self.scores.__getitem__)[-count:]


class _Looks:
    """What is found out of a round's candidates when it is asked for, or a little before."""

    def __init__(self, pool: Executor, checkpoint: Checkpoint, candidates: _Round) -> None:
        self._pool, self._checkpoint, self._candidates = pool, checkpoint, candidates
        self._copies: dict[int, Future[bool]] = {}
        self._hashes: dict[int, int] = {}

    def begin_with(self, indexes: list[int]) -> None:
        """Look whether these are copies, on all cores: it takes two looks by the network each."""
        for index in indexes:
            self._copies[index] = self._pool.submit(self._find_copy, index)

    def is_copy(self, index: int) -> bool:
        if index not in self._copies:
            self.begin_with([index])
        return self._copies[index].result()

    def hash_of(self, index: int) -> int:
        if index not in self._hashes:
            self._hashes[index] = perceptual_hash(Image.fromarray(self._candidates.pixels[index]))
        return self._hashes[index]

    def _find_copy(self, index: int) -> bool:
        return bool(self._checkpoint.find_copies(self._candidates.pixels[index : index + 1]).any())


def min_score(metadata: Metadata, quantile: float) -> float:
    """The critic score that a picture needs; with quantile 0 every picture has it."""
    return metadata.score_at(quantile) if quantile > 0 else -math.inf


def sample(request: SamplingRequest) -> SamplingResult:
    """Sample until the count is reached or the batches are used up.

    Raises NothingToDo where not one picture passed, and TrainerError for a checkpoint that can't be used.
    """
    with a_core_each(_MOST_CORES) as pool:
        return _choose_from(pool, load(request.checkpoint, rounded=True), request)


def _choose_from(pool: Executor, checkpoint: Checkpoint, request: SamplingRequest) -> SamplingResult:
    metadata = checkpoint.metadata
    training = frozenset(int(text, 16) for text in metadata.training_hashes)
    threshold = min_score(metadata, request.min_quantile)
    recent = list(request.avoid)
    tally = _Tally()
    kept: list[Future[SampledPicture]] = []
    for candidates, wanted in _rounds(pool, checkpoint, request, kept):
        tally.candidates += len(candidates.scores)
        tally.believed += sum(score >= threshold for score in candidates.scores)
        tally.best_score = max(tally.best_score, *candidates.scores)
        looks = _Looks(pool, checkpoint, candidates)
        looks.begin_with(candidates.best(wanted))
        rules = Rules(threshold, recent, training)
        verdict = choose(candidates.scores, looks.hash_of, rules, wanted, looks.is_copy)
        for reason, count in verdict.refused.items():
            tally.refused[reason] += count
        for index in verdict.kept:
            phash = looks.hash_of(index)
            recent.append(phash)
            kept.append(pool.submit(_store, request.folder, metadata, candidates, index, phash))
    best_quantile = metadata.quantile_of(tally.best_score)
    if not kept:
        raise NothingToDo(_nothing_passed(request, tally, best_quantile))
    return SamplingResult(
        tuple(picture.result() for picture in kept),
        checkpoint.fingerprint,
        metadata.resolution,
        tally.candidates,
        tally.believed,
        best_quantile,
    )


def _rounds(
    pool: Executor, checkpoint: Checkpoint, request: SamplingRequest, kept: Sized
) -> Iterator[tuple[_Round, int]]:
    """Candidates for the pictures that are missing, and how many of these may be kept."""
    numbers = random.Random(request.seed)  # noqa: S311 (a picture's number, not a secret)
    left = request.limit
    while left and len(kept) < request.count:
        wanted = min(_ROUND, request.count - len(kept))
        size = min(max(_LEAST, wanted * request.candidates), left)
        left -= size
        seeds = [numbers.getrandbits(62) for _ in range(size)]
        yield _draw(pool, checkpoint, seeds, request.checkpoint), wanted


def _draw(pool: Executor, checkpoint: Checkpoint, seeds: list[int], named: Path) -> _Round:
    """What the networks make of the seeds, a chunk at a time on each core."""
    import numpy as np

    from trainer.pictures import to_uint8  # brings torch

    def look(chunk: list[int]) -> "tuple[list[float], Pixels]":
        images = checkpoint.sample(chunk)
        scores: list[float] = checkpoint.score(images).tolist()
        return scores, to_uint8(images)

    size = _chunk_size(checkpoint.metadata.resolution)
    chunks = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    looks = list(pool.map(look, chunks))
    scores = [score for of_chunk, _ in looks for score in of_chunk]
    if not all(map(math.isfinite, scores)):
        raise MeshibotError(f"{named} makes pictures that are not numbers: use another checkpoint.")
    return _Round(seeds, scores, np.concatenate([pixels for _, pixels in looks]))


def _chunk_size(resolution: int) -> int:
    return max(1, min(_CHUNK, _CHUNK * _CHUNK_RESOLUTION**2 // resolution**2))


def _store(folder: Path, metadata: Metadata, candidates: _Round, index: int, phash: int) -> SampledPicture:
    buffer = io.BytesIO()
    # what PNG's filters leave of a picture hardly repeats: as small as by search, in a quarter of the time
    Image.fromarray(candidates.pixels[index]).save(buffer, "PNG", compress_type=zlib.Z_RLE)
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    file = folder / f"{sha256[:16]}.png"
    atomic_write(file, data)
    score = candidates.scores[index]
    return SampledPicture(candidates.seeds[index], score, metadata.quantile_of(score), phash, file, sha256)


def _nothing_passed(request: SamplingRequest, tally: _Tally, best_quantile: float) -> str:
    """The sentence for exit 3: what was seen, and what to change."""
    if tally.believed:
        alike, copies = tally.refused[Refusal.LOOK_ALIKE], tally.refused[Refusal.COPY]
        return (
            f"None of {tally.candidates} candidates is new (of {tally.believed} that scored high enough, "
            f"{alike} look like recent pictures and {copies} like training photographs): "
            "use another checkpoint (MESHIBOT_CHECKPOINT), one trained longer."
        )
    seen = (
        f"None of {tally.candidates} candidates scored above the share {request.min_quantile:g} of held-out "
        f"photographs (acceptance rate 0 %, best quantile seen {best_quantile:.3f})"
    )
    reachable = math.floor(best_quantile * 100) / 100
    return (
        f"{seen}: lower MESHIBOT_MIN_QUANTILE to at most {reachable:.2f}, or use another checkpoint "
        "(MESHIBOT_CHECKPOINT)."
    )


def main() -> int:
    """Answer one request; returns the exit status."""
    keep_freed_memory()
    return answer(
        lambda asked: print(sample(SamplingRequest.from_json(asked)).to_json(), end=""),
        "Memory ran out while sampling: close other programs or use a smaller checkpoint.",
    )


if __name__ == "__main__":
    sys.exit(main())
