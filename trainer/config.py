"""What a training is made of: one frozen value object, and the presets that fill it.

Imports no torch: `trainer fit --help` has to be quick, and settings are checked before anything is loaded.
"""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from trainer.errors import UsageError
from trainer.nets.architecture import (
    MOST_LATENTS,
    MOST_WIDTH,
    RESOLUTIONS,
    CriticNorm,
    GeneratorNorm,
    NetworkKind,
)

PresetName = Literal["article", "modern"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bf16"]
Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class FitConfig:
    """One training, whole. Kept as `config.json` in the run folder and compared at a resume."""

    data: str
    objective: Literal["wgan-gp", "wgan", "dcgan"] = "wgan-gp"
    preset: PresetName = "modern"
    resolution: int = 64
    steps: int = 20_000
    """Generator updates."""
    batch: int = 8
    n_critic: int = 1
    """Critic updates for each generator update."""
    seed: int = 0

    kind: NetworkKind = "plain"
    width: int = 32
    latent_size: int = 128
    generator_norm: GeneratorNorm = "batch"
    critic_norm: CriticNorm = "none"

    critic_lr: float = 6e-4
    generator_lr: float = 3e-4
    lr_decay: float = 0.5
    """Share of `steps`, at the end, over which the learning rates fall linearly to zero; 0 keeps them."""
    beta1: float = 0.0
    beta2: float = 0.9
    penalty_weight: float = 10.0
    drift_weight: float = 1e-3
    clip: float = 0.01

    ema_half_life: float = 20_000.0
    """In images; 0 switches averaging off."""
    ema_ramp: float = 0.05
    mirror: bool = True
    """Show each photograph mirrored half of the time."""
    colour: float = 0.0
    """Strength of augmentation in colour; 1.0 is DiffAugment's range."""
    translation: float = 0.0
    """Greatest shift as a share of the side."""

    guard: bool = True
    """Look for collapse at each evaluation, and go back to the best state when it comes."""
    setbacks: int = 3
    """How often to go back before giving up."""
    setback_lr: float = 0.5
    """What the learning rates are multiplied by each time."""

    device: Device = "auto"
    precision: Precision = "auto"
    compile: Compile = "auto"
    """Whether gradients are compiled; `auto` is decided once, at the start, by whether it pays in the run."""
    log_every: int = 50
    snap: int = 1_000
    """Steps between grids, saved states and checkpoints."""
    eval_every: int = 500
    """Steps between looks at the held-out photographs."""

    def check(self) -> None:
        """Raises UsageError, naming the option, for what can't be trained."""
        if self.resolution not in RESOLUTIONS:
            known = ", ".join(map(str, RESOLUTIONS))
            raise UsageError(f"--resolution {self.resolution} is not one of {known}.")
        for name, allowed in (
            ("device", Device),
            ("precision", Precision),
            ("compile", Compile),
            ("generator_norm", GeneratorNorm),
        ):
            if getattr(self, name) not in get_args(allowed):
                words, option = ", ".join(get_args(allowed)), name.replace("_", "-")
                raise UsageError(f"--{option} {getattr(self, name)} is not one of {words}.")
        for name in ("steps", "batch", "n_critic", "width", "latent_size", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} has to be at least 1.")
        for name, most in (("width", MOST_WIDTH), ("latent_size", MOST_LATENTS)):
            if getattr(self, name) > most:
                raise UsageError(f"--{name.replace('_', '-')} can be {most} at most.")
        for name in ("snap", "eval_every"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name.replace('_', '-')} has to be 0 (never) or more.")
        for name in ("critic_lr", "generator_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} has to be more than 0.")
        for name in ("colour", "translation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} has to be from 0 (off) to 1.")
        if self.objective == "wgan-gp" and self.critic_norm == "batch":
            raise UsageError("A WGAN-GP critic can't have batch norm: the penalty is each sample's own.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "FitConfig":
        """Raises TypeError where a value is not of its setting's kind."""
        values = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        for field in fields(cls):
            kind = type(field.default) if field.default is not MISSING else str
            value = values.get(field.name, kind())
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                raise TypeError(f"{field.name} is {value!r}")
        return cls(**values)


# Keras settings of the article this project grew from: batch norm generator, no average, no decay, no
# augmentation, one critic step. It sampled in training mode; here samples are made in evaluation mode.
ARTICLE: dict[str, Any] = {
    "batch": 8,
    "n_critic": 1,
    "critic_lr": 3e-4,
    "generator_lr": 1e-4,
    "latent_size": 128,
    "generator_norm": "batch",
    "lr_decay": 0.0,
    "ema_half_life": 0.0,
    "mirror": False,
    "colour": 0.0,
    "translation": 0.0,
    "drift_weight": 0.0,
}
MODERN: dict[str, Any] = {}
PRESETS: dict[PresetName, dict[str, Any]] = {"article": ARTICLE, "modern": MODERN}

# Optimiser settings that belong to an objective rather than to a preset: WGAN's authors found momentum to
# hurt and used RMSprop at 5e-5 with five critic steps; DCGAN's used Adam (0.5, 0.999) at 2e-4 and batch norm.
OBJECTIVE_DEFAULTS: dict[str, dict[str, Any]] = {
    "wgan-gp": {},
    "wgan": {"batch": 32, "critic_lr": 5e-5, "generator_lr": 5e-5, "n_critic": 5, "drift_weight": 0.0},
    "dcgan": {
        "batch": 32,
        "critic_lr": 2e-4,
        "generator_lr": 2e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "generator_norm": "batch",
        "critic_norm": "batch",
        "drift_weight": 0.0,
    },
}

# What may differ when a run is resumed: how long it goes on, how often it is looked at, and on what it runs.
MAY_CHANGE = frozenset(
    {
        "data",
        "steps",
        "log_every",
        "snap",
        "eval_every",
        "device",
        "precision",
        "compile",
        "guard",
        "setbacks",
    }
)


def make_config(data: Path, preset: str, objective: str, **overrides: Any) -> FitConfig:
    """A preset, then what the objective asks for, then the user's options (those that are not None).

    Raises UsageError for an unknown name or a value out of range.
    """
    if preset not in get_args(PresetName):
        raise UsageError(f"--preset {preset} is not one of {', '.join(get_args(PresetName))}.")
    if objective not in OBJECTIVE_DEFAULTS:
        raise UsageError(f"--objective {objective} is not one of {', '.join(OBJECTIVE_DEFAULTS)}.")
    given = {name: value for name, value in overrides.items() if value is not None}
    values = {**PRESETS[preset], **OBJECTIVE_DEFAULTS[objective], **given}  # type: ignore[index]
    config = FitConfig(data=str(data), preset=preset, objective=objective, **values)  # type: ignore[arg-type]
    config.check()
    return config


def differences(saved: FitConfig, wanted: FitConfig) -> list[str]:
    """What keeps `wanted` from continuing `saved`, each as 'name: saved → wanted'."""
    return [
        f"{field.name}: {getattr(saved, field.name)} → {getattr(wanted, field.name)}"
        for field in fields(FitConfig)
        if field.name not in MAY_CHANGE and getattr(saved, field.name) != getattr(wanted, field.name)
    ]


def with_changes(config: FitConfig, **changes: Any) -> FitConfig:
    """A copy with those changes that are not None, checked."""
    changed = replace(config, **{name: value for name, value in changes.items() if value is not None})
    changed.check()
    return changed
