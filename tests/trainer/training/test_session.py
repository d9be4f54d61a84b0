"""What a session keeps and shows: averages, the best of what was calm, and which photographs say so."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.drawings import bowls
from trainer import checkpoint
from trainer.config import make_config
from trainer.data.dataset import Dataset
from trainer.data.parts import parts_of
from trainer.grids import contact_sheet
from trainer.metadata import read_metadata
from trainer.metrics.metric import Metric
from trainer.metrics.quick import SHARPEST, QuickFigures
from trainer.metrics.realism import Realism
from trainer.nets.generator import latents_from_seeds
from trainer.pictures import draw, to_device, to_float
from trainer.training import evaluation
from trainer.training.guard import Guard
from trainer.training.heldout import features_of
from trainer.training.runlog import RunLog
from trainer.training.session import Session
from trainer.training.snapshots import GRID_SEEDS, Snapshots
from trainer.training.state import LoopState
from trainer.training.training import Training

CPU = torch.device("cpu")
CONFIG = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=4, latent_size=8, steps=100,
    generator="plain", critic="plain", eval_every=1, snap=0, log_every=100,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("few_fakes")


def dataset(held_out: int = 10) -> Dataset:
    pictures = bowls(16 + held_out, 32)
    names = tuple(map(str, range(len(pictures))))
    return Dataset(pictures[:16], pictures[16:], names[:16], names[16:], (), 0, "drawn", from_cache=False)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    data = dataset()
    training = Training(CONFIG, to_device(data.training, CPU))
    with RunLog(tmp_path, CONFIG.steps) as log:
        made = Session(training, data, tmp_path, log, LoopState(data.fingerprint, Guard(), 0))
        made.begin()
        training.cycle()
        yield made


def lines(session: Session, kind: str) -> list[dict[str, float]]:
    text = (session.states.parent / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


def test_a_checkpoint_ships_the_averages(session: Session) -> None:
    session.snapshot()
    networks = session.training.networks
    loaded = checkpoint.load(session.snapshots.checkpoints / "last.safetensors")
    for shipped, average, latest in (
        (loaded.generator, networks.generator_average, networks.generator),
        (loaded.critic, networks.critic_average, networks.critic),
    ):
        for name, tensor in shipped.named_parameters():
            assert torch.equal(tensor, average.get_parameter(name))
        assert any(not t.equal(latest.get_parameter(name)) for name, t in shipped.named_parameters())
    wanted = features_of(networks.critic_average, networks.vision, session.snapshots.calibrated_on)
    assert loaded.photographs is not None
    assert torch.equal(loaded.photographs, wanted)
    assert loaded.metadata.score_quantiles == pytest.approx(Realism(wanted).quantiles(100))


def test_a_seeing_critic_is_calibrated_on_its_scores_of_held_out_photographs(tmp_path: Path) -> None:
    """What the checkpoint scores them, as a reader of the file does, has the quantiles that the file
    names."""
    data = dataset()
    weights = (1.0, 3.0, 3.0, 2.5, 2.5, 2.0)
    config = replace(CONFIG, critic="seeing", cache_gb=0.0, head_weights=weights)
    training = Training(config, to_device(data.training, CPU))
    assert training.task.head_weights is not None
    assert training.task.head_weights.tolist() == pytest.approx(weights)
    snapshots = Snapshots(training, data, tmp_path)
    snapshots.write_checkpoint("one.safetensors", metrics={})
    loaded = checkpoint.load(snapshots.checkpoints / "one.safetensors")
    with safe_open(snapshots.checkpoints / "one.safetensors", "pt") as file:
        assert "photographs" not in file.keys()  # noqa: SIM118 (it is no dictionary)
    scores = loaded.score(to_float(snapshots.calibrated_on)).sort().values
    assert loaded.metadata.head_weights == weights
    marks = loaded.metadata.score_quantiles
    assert marks[0] == pytest.approx(scores[0].item(), abs=2e-2)  # the network is stored in half precision
    assert marks[-1] == pytest.approx(scores[-1].item(), abs=2e-2)
    assert marks[50] == pytest.approx(scores.quantile(0.5).item(), abs=5e-2)
    assert scores[0] < scores[-1]


def test_sheets_and_figures_are_of_the_averaged_generator(session: Session, few_fakes: int) -> None:
    networks, size = session.training.networks, CONFIG.latent_size
    for _ in range(4):  # at first the average follows at once
        session.training.cycle()
    session.snapshot()

    def drawn(seeds: range | tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return draw(networks.generator_average, latents_from_seeds(list(seeds), size), CPU)

    with Image.open(session.snapshots.samples / "step-00000005.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(contact_sheet(drawn(GRID_SEEDS))))
    figures = QuickFigures(session.evaluator.reals, session.evaluator.held_out, fakes=few_fakes)
    assert session.evaluator().figures == figures(drawn(range(figures.fakes)))
    latest = draw(networks.generator.eval(), latents_from_seeds(list(GRID_SEEDS), size), CPU)
    assert not np.array_equal(latest, drawn(GRID_SEEDS))


class _Figures:
    """Evaluations whose kid is told beforehand."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch, *kids: float) -> None:
        seen = session.evaluator()
        told = iter(kids)

        def evaluated(self: evaluation.Evaluator) -> evaluation.Evaluation:
            figures = {**seen.figures, "kid": Metric(next(told), 0.0, deviation=0.1)}
            return replace(seen, step=self.training.step, figures=figures)

        monkeypatch.setattr(evaluation.Evaluator, "__call__", evaluated)
        self.session = session

    def best_step(self) -> int:
        path = self.session.snapshots.checkpoints / "best.safetensors"
        return read_metadata(path).step


def test_near_ties_go_to_the_later_step(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """And do not add up: what counts is the least figure so far."""
    figures = _Figures(session, monkeypatch, 1.0, 1.05, 1.12, 0.5, 0.7)
    best = []
    for _ in range(5):
        session.after_cycle()
        best.append(figures.best_step())
        session.training.cycle()
    assert best == [1, 2, 2, 4, 4]


def test_the_guard_looks_at_once_where_a_tick_is_no_number_any_more(tmp_path: Path) -> None:
    data = dataset()
    config = replace(CONFIG, log_every=1, eval_every=50)
    training = Training(config, to_device(data.training, CPU))
    first = next(training.networks.generator.parameters())
    with RunLog(tmp_path, config.steps) as log:
        session = Session(training, data, tmp_path, log, LoopState(data.fingerprint, Guard(), 0))
        session.begin()
        training.cycle()
        session.after_cycle()
        assert (training.step, training.setbacks) == (1, 0)
        with torch.no_grad():
            first.fill_(math.nan)
        training.cycle()
        session.after_cycle()
    assert (training.step, training.setbacks) == (0, 1)
    assert first.isfinite().all()


def test_another_figure_than_before_begins_anew(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that an earlier version began was chosen by a figure of another unit."""
    assert (session.best_by, session.lowest) == ("kid", math.inf)
    figures = _Figures(session, monkeypatch, 0.1)
    session.after_cycle()
    seen = session.latest
    assert seen is not None
    changed = replace(seen, step=2, figures={**seen.figures, SHARPEST: Metric(0.7, 0.0, deviation=0.1)})
    session.training.cycle()
    monkeypatch.setattr(evaluation.Evaluator, "__call__", lambda self: changed)
    session.after_cycle()
    assert figures.best_step() == 2
    assert (session.best_by, session.lowest) == (SHARPEST, 0.7)


def test_nothing_is_kept_while_a_sign_shows(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as the best, nor to go back to."""
    figures = _Figures(session, monkeypatch, 1.0, 0.1, 0.5)
    session.after_cycle()
    session.training.cycle()
    session.guard.counts["diversity"] = 1
    monkeypatch.setattr(Guard, "look", lambda guard, seen: None)
    session.after_cycle()
    assert figures.best_step() == 1
    assert session.guard.calm_steps == [0, 1]
    session.guard.counts.clear()
    session.training.cycle()
    session.after_cycle()
    assert figures.best_step() == 3
    assert session.guard.calm_steps == [0, 1, 3]


def test_a_figure_is_told_with_how_rough_it_is(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.after_cycle()
    (figures,) = lines(session, "figures")
    assert figures["kid_deviation"] > 0
    assert "±" in capsys.readouterr().err


@pytest.mark.parametrize(("held_out", "apart"), [(30, False), (300, True)])
def test_what_chooses_does_not_calibrate(held_out: int, apart: bool, tmp_path: Path) -> None:
    data = dataset(held_out)
    training = Training(CONFIG, to_device(data.training, CPU))
    with RunLog(tmp_path, CONFIG.steps) as log:
        session = Session(training, data, tmp_path, log, LoopState(data.fingerprint, Guard(), 0))
        session.snapshot()
    parts = parts_of(held_out)
    assert np.array_equal(session.evaluator.held_out, data.held_out[parts.choosing])
    wanted = to_device(data.held_out[parts.calibrating], CPU)
    assert torch.equal(session.snapshots.calibrated_on, wanted)
    metadata = read_metadata(session.snapshots.checkpoints / "last.safetensors")
    assert metadata.held_out_apart is apart
