"""Would a crop around the bowl help? Squares cut by four rules, and how well other photographs predict them.

    python -m benchmarks.crops --data FOLDER

Of each photograph that is not nearly square, a square is chosen along its long side: the centre; where edges
lie most like a circle; where there is most detail; anywhere. What is easier to learn is more alike from
photograph to photograph: printed is the share of the variance of a tenth of the squares that is left when
they are projected on the first principal components of the others. Less is better.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.decode import UnusableError, decode_whole
from trainer.data.sources import open_source

SIDE = 64
LEARNED = 32
NEARLY_SQUARE = 1.15
RADII = range(20, 32, 2)
"""Of a bowl, in pixels of a square of side SIDE."""
COMPONENTS = (8, 32, 128)

Array = NDArray[np.float64]


def bowl_and_detail(picture: Array) -> tuple[list[float], list[float]]:
    """For each place of a square along the long side of (SIDE, length, 3): how round its edges, how many."""
    across, along = np.mgrid[0:SIDE, 0:SIDE] + 0.5 - SIDE / 2
    radius = np.hypot(across, along) + 1e-6
    rings = [np.abs(radius - each) < 2 for each in RADII]
    down, right = np.gradient(picture.mean(2))
    round_edges, edges = [], []
    for place in range(picture.shape[1] - SIDE + 1):
        y, x = (each[:, place : place + SIDE] for each in (down, right))
        radial = np.abs(y * across + x * along) / radius
        tangential = np.abs(x * across - y * along) / radius
        round_edges.append(max(float((radial - tangential)[ring].mean()) for ring in rings))
        edges.append(float(np.hypot(y, x).sum()))
    return round_edges, edges


def squares_of(image: Image.Image, rng: np.random.Generator) -> dict[str, Array]:
    """One flat picture of LEARNED pixels a side for each rule."""
    scale = SIDE / min(image.size)
    size = max(SIDE, round(image.width * scale)), max(SIDE, round(image.height * scale))
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float64)
    upright = image.height > image.width
    lying = pixels.swapaxes(0, 1) if upright else pixels
    round_edges, edges = bowl_and_detail(lying)
    last = lying.shape[1] - SIDE
    places = {
        "centre": last // 2,
        "circle": int(np.argmax(round_edges)),
        "detail": int(np.argmax(edges)),
        "anywhere": int(rng.integers(last + 1)),
    }
    found = {}
    for rule, place in places.items():
        square = lying[:, place : place + SIDE]
        square = square.swapaxes(0, 1) if upright else square
        halves = square.reshape(LEARNED, SIDE // LEARNED, LEARNED, SIDE // LEARNED, 3)
        found[rule] = halves.mean((1, 3)).ravel()
    return found


def left_over(squares: Array) -> list[float]:
    """Share of the variance of every tenth row that the components of the others don't explain."""
    tenth = np.arange(len(squares)) % 10 == 0
    mean = squares[~tenth].mean(0)
    _, _, components = np.linalg.svd(squares[~tenth] - mean, full_matrices=False)
    others = squares[tenth] - mean
    total = (others**2).sum()
    return [1 - float(((others @ components[:count].T) ** 2).sum() / total) for count in COMPONENTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    source = open_source(parser.parse_args().data)
    rng = np.random.default_rng(0)
    rows: dict[str, list[Array]] = {}
    for name in source.scan().stamps:
        try:
            image = decode_whole(source.read(name), SIDE)
        except UnusableError:
            continue
        if max(image.size) < NEARLY_SQUARE * min(image.size):
            continue
        for rule, square in squares_of(image, rng).items():
            rows.setdefault(rule, []).append(square)
    print(f"| crop | photographs | {' | '.join(f'{count} components' for count in COMPONENTS)} |")
    print("|---|---|" + "---|" * len(COMPONENTS))
    for rule, squares in rows.items():
        shares = " | ".join(f"{share:.4f}" for share in left_over(np.stack(squares)))
        print(f"| {rule} | {len(squares)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
