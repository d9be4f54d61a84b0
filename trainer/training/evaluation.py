"""One evaluation: the critic on training and held-out photographs, and the figures of what is generated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from trainer.data.dataset import Dataset
from trainer.data.parts import parts_of
from trainer.metrics.metric import Metric
from trainer.metrics.pretrained import PretrainedNet
from trainer.metrics.quick import QuickFigures
from trainer.pictures import to_device
from trainer.training.guard import Head, Observation
from trainer.training.heldout import CriticComparison, CriticWatch
from trainer.training.snapshots import draw_seeds
from trainer.training.training import TickStatistics, Training

FEWEST_HELD_OUT = 8
ENOUGH_FOR_GAP = 50
"""Of fewer held-out photographs the mean score varies too much to speak of memorising."""


@dataclass(frozen=True)
class Evaluation:
    """What was seen at one step."""

    step: int
    head_names: tuple[str, ...]
    critic: CriticComparison
    figures: dict[str, Metric]
    """Empty where too few photographs are held out."""
    watched: int
    """Held-out photographs there are."""

    def observation(self, statistics: TickStatistics) -> Observation:
        """As the guard takes it; `statistics` are those of the training batches before."""
        critic = self.critic
        gaps = critic.gaps if self.watched >= ENOUGH_FOR_GAP else (0.0,) * len(critic.gaps)
        of_heads = zip(
            self.head_names,
            critic.training.losses,
            critic.training.penalties,
            critic.separations,
            gaps,
            strict=True,
        )
        values = {name: metric.value for name, metric in self.figures.items()}
        return Observation(
            heads=tuple(Head(*head) for head in of_heads),
            generator_loss=statistics.generator_loss,
            wasserstein=statistics.critic["wasserstein"],
            spread=critic.spread,
            slope=critic.slope,
            distance=values.get("swd"),
            diversity=values.get("diversity"),
            variety=values.get("variety"),
        )

    def critic_record(self) -> dict[str, float]:
        """The critic's part as it stands in metrics.jsonl."""
        critic = self.critic
        values = {"separation": critic.separation, "gap": critic.gap}
        for kind, losses in (("training", critic.training), ("held_out", critic.held_out)):
            values |= {
                f"{kind}_critic_loss": losses.critic_loss,
                f"{kind}_wasserstein": losses.wasserstein,
                f"{kind}_penalty": losses.penalty,
            }
        if len(self.head_names) > 1:
            for name, of_heads in (("separation", critic.separations), ("gap", critic.gaps)):
                pairs = zip(self.head_names, of_heads, strict=True)
                values |= {f"{name}.{head}": value for head, value in pairs}
        return values

    def figures_record(self) -> dict[str, float]:
        """The figures as they stand in metrics.jsonl, with the deviation of those that have one."""
        rough = {
            f"{name}_deviation": metric.deviation
            for name, metric in self.figures.items()
            if metric.deviation is not None
        }
        return {name: metric.value for name, metric in self.figures.items()} | rough

    def figures_line(self) -> str:
        """For a person: each figure with its floor and, where it is known, how rough it is."""
        return ", ".join(
            f"{name} {metric.value:.3g}"
            + (f" ± {metric.deviation:.1g}" if metric.deviation else "")
            + (f" (floor {metric.floor:.3g})" if metric.floor is not None else "")
            for name, metric in self.figures.items()
            if not name.startswith("swd_")  # its levels are in metrics.jsonl
        )


class Evaluator:
    """Makes evaluations of a training; changes nothing in it."""

    def __init__(self, training: Training, dataset: Dataset) -> None:
        self.training = training
        self.reals = dataset.training
        self.held_out = dataset.held_out[parts_of(len(dataset.held_out)).choosing]
        self.watch = CriticWatch(
            training.photographs.pictures,
            to_device(self.held_out, training.device),
            training.config.latent_size,
            training.objective,
            training.networks.vision,
        )

    @property
    def has_figures(self) -> bool:
        return len(self.held_out) >= FEWEST_HELD_OUT

    @cached_property
    def _figures(self) -> QuickFigures:
        """With their floors: seconds that the first step does not wait for.

        Pretrained features cost little beside a seeing critic's cycles, and much beside a plain one's."""
        sees = self.training.config.critic == "seeing"
        device = self.training.device
        pretrained = PretrainedNet(device) if sees else None
        return QuickFigures(self.reals, self.held_out, device, pretrained=pretrained)

    def __call__(self) -> Evaluation:
        """Of the latest critic and generator, and of pictures of the averaged one, of fixed latents."""
        training = self.training
        networks = training.networks
        figures: dict[str, Metric] = {}
        critic = self.watch(networks.critic, networks.generator)
        if self.has_figures:
            figures = self._figures(draw_seeds(training, range(self._figures.fakes)))
        return Evaluation(training.step, networks.critic.head_names, critic, figures, len(self.held_out))
