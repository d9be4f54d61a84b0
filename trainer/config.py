"""What a training is made of: one frozen value object, and the presets that fill it.

Imports no torch: `trainer fit --help` has to be quick, and settings are checked before anything is loaded.
"""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from trainer.errors import UsageError
from trainer.memory import memory_limit_gb
from trainer.nets import earlier
from trainer.nets.architecture import (
    HEADS,
    MOST_CHANNELS,
    MOST_LATENTS,
    RESOLUTIONS,
    Architecture,
    CriticKind,
    CriticNorm,
    CriticShape,
    GeneratorKind,
    GeneratorNorm,
    GeneratorShape,
    channels_for,
    sizes_up_to,
)

PICTURE_HEAD_WIDTH = 64
"""Of a seeing critic: its head for the picture itself need only see colours and the last pixel."""

MOST_CACHE_GB = 4.0
CACHE_SHARE = 0.25
"""Of the machine's memory, that is kept for what is seen in photographs unless a number is given."""
FEWEST_CHANNELS = 8
"""Of a level that is added to another checkpoint's."""

PresetName = Literal["article", "modern"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bf16"]
Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class FitConfig:
    """One training, whole. Kept as `config.json` in the run folder and compared at a resume."""

    data: str
    objective: Literal["wgan-gp", "wgan", "dcgan"] = "wgan-gp"
    preset: PresetName = "modern"
    resolution: int = 64
    steps: int = 60_000
    """Generator updates."""
    minutes: float = 0.0
    """Time after which it ends though there are steps left; 0 sets none."""
    batch: int = 16
    n_critic: int = 1
    """Critic updates for each generator update."""
    seed: int = 0
    init: str = ""
    """The checkpoint whose averages the networks begin as, if any."""

    generator: GeneratorKind = "gated"
    critic: CriticKind = "seeing"
    channels: tuple[int, ...] = ()
    """Of the generator at 4, 8, ... pixels; filled by `make_config` from a width."""
    critic_channels: tuple[int, ...] = ()
    """Of the critic's head that looks at the picture itself."""
    latent_size: int = 128
    generator_norm: GeneratorNorm = "batch"
    critic_norm: CriticNorm = "none"

    head_weights: tuple[float, ...] = ()
    """How much each of the critic's heads counts in the generator's loss, the picture's own first; empty
    stands for what its vision says."""

    critic_lr: float = 5e-4
    generator_lr: float = 5e-4
    lr_decay: float = 0.5
    """Share of `steps`, at the end, over which the learning rates fall linearly to zero; 0 keeps them."""
    beta1: float = 0.0
    beta2: float = 0.99
    penalty_weight: float = 10.0
    drift_weight: float = 1e-3
    clip: float = 0.01

    ema_half_life: float = 10_000.0
    """In images; 0 switches averaging off."""
    ema_ramp: float = 0.05
    mirror: bool = True
    """Show each photograph mirrored half of the time."""
    colour: float = 0.0
    """Strength of augmentation in colour; 1.0 is DiffAugment's range."""
    translation: float = 0.0
    """Greatest shift as a share of the side."""

    cache_gb: float = MOST_CACHE_GB
    """Memory for what a seeing critic sees in the photographs, kept so that they need not be looked at
    again."""

    guard: bool = True
    """Look for collapse at each evaluation, and go back to a calm state when it comes."""
    setbacks: int = 3
    """How often to go back before giving up."""
    setback_lr: float = 0.5
    """What the learning rates are multiplied by each time."""

    device: Device = "auto"
    precision: Precision = "auto"
    compile: Compile = "auto"
    """Whether a step is compiled; `auto` is decided once, at the start, by whether it pays in the run."""
    graph: bool = True
    """Whether a cycle is captured as a CUDA graph, where the device has them."""
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
            ("generator", GeneratorKind),
            ("critic", CriticKind),
            ("generator_norm", GeneratorNorm),
        ):
            if getattr(self, name) not in get_args(allowed):
                words, option = ", ".join(get_args(allowed)), name.replace("_", "-")
                raise UsageError(f"--{option} {getattr(self, name)} is not one of {words}.")
        for name in ("steps", "batch", "n_critic", "latent_size", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} has to be at least 1.")
        if self.latent_size > MOST_LATENTS:
            raise UsageError(f"--latent-size can be {MOST_LATENTS} at most.")
        if not 0 <= self.cache_gb < float("inf"):
            raise UsageError("--cache-gb has to be 0 (keep nothing) or more.")
        if not 0 <= self.minutes < float("inf"):
            raise UsageError("--minutes has to be more than 0, or 0 for no limit.")
        for name in ("snap", "eval_every"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name.replace('_', '-')} has to be 0 (never) or more.")
        for name in ("critic_lr", "generator_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} has to be more than 0.")
        for name in ("colour", "translation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} has to be from 0 (off) to 1.")
        heads = HEADS[self.critic]
        if self.head_weights and len(self.head_weights) != heads:
            raise UsageError(
                f"--head-weights are {len(self.head_weights)}, and a {self.critic} critic has {heads}."
            )
        if not all(0 < weight < float("inf") for weight in self.head_weights):
            raise UsageError("--head-weights have to be more than 0.")
        if self.objective == "wgan-gp" and self.critic_norm == "batch":
            raise UsageError("A WGAN-GP critic can't have batch norm: the penalty is each sample's own.")

    @property
    def architecture(self) -> Architecture:
        """The shapes of both networks."""
        return Architecture(
            GeneratorShape(self.generator, self.latent_size, self.channels, self.generator_norm),
            CriticShape(self.critic, self.critic_channels, self.critic_norm),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "FitConfig":
        """Also of an earlier version's. Raises TypeError or ValueError where a value is no such setting's."""
        document = earlier.settings_2(document)
        values = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        for name in ("channels", "critic_channels"):
            values[name] = tuple(values.get(name, ()))
        values["head_weights"] = tuple(map(float, values.get("head_weights", ())))
        for field in fields(cls):
            kind = type(field.default) if field.default is not MISSING else str
            value = values.get(field.name, kind())
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                raise TypeError(f"{field.name} is {value!r}")
        return cls(**values)


# Keras settings of the article this project grew from: batch norm generator, no average, no decay, no
# augmentation, one critic step. It sampled in training mode; here samples are made in evaluation mode.
ARTICLE: dict[str, Any] = {
    "generator": "plain",
    "critic": "plain",
    "steps": 20_000,
    "batch": 8,
    "n_critic": 1,
    "critic_lr": 3e-4,
    "generator_lr": 1e-4,
    "beta2": 0.9,
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
        "minutes",
        "log_every",
        "snap",
        "eval_every",
        "cache_gb",
        "device",
        "precision",
        "compile",
        "graph",
        "guard",
        "setbacks",
    }
)


def make_config(data: Path, preset: str, objective: str, **overrides: Any) -> FitConfig:
    """A preset, then what the objective asks for, then the user's options (those that are not None).

    `width` and `critic_width` among them stand for the channels at 4 pixels. Raises UsageError for an unknown
    name or a value out of range.
    """
    if preset not in get_args(PresetName):
        raise UsageError(f"--preset {preset} is not one of {', '.join(get_args(PresetName))}.")
    if objective not in OBJECTIVE_DEFAULTS:
        raise UsageError(f"--objective {objective} is not one of {', '.join(OBJECTIVE_DEFAULTS)}.")
    given = {name: value for name, value in overrides.items() if value is not None}
    # of this machine, not of the moment: the same command twice is the same run
    ours = {"cache_gb": min(MOST_CACHE_GB, CACHE_SHARE * memory_limit_gb())}
    values = {**ours, **PRESETS[preset], **OBJECTIVE_DEFAULTS[objective], **given}  # type: ignore[index]
    widths = {name: values.pop(name, None) for name in ("width", "critic_width")}
    config = FitConfig(data=str(data), preset=preset, objective=objective, **values)  # type: ignore[arg-type]
    config.check()
    return _with_channels(config, **widths)


def shape_settings(arch: Architecture, resolution: int) -> dict[str, Any]:
    """The settings of networks of `resolution` px that begin as those of `arch`: theirs, with as many more
    levels as it takes, each with half the channels of the one before."""
    return {
        "resolution": resolution,
        "generator": arch.generator.kind,
        "critic": arch.critic.kind,
        "channels": _as_many(arch.generator.channels, resolution),
        "critic_channels": _as_many(arch.critic.channels, resolution),
        "latent_size": arch.latent_size,
        "generator_norm": arch.generator.norm,
        "critic_norm": arch.critic.norm,
    }


def _as_many(channels: tuple[int, ...], resolution: int) -> tuple[int, ...]:
    """For 4, 8, ..., `resolution` pixels."""
    counts = list(channels)
    for _ in sizes_up_to(resolution)[len(counts) :]:
        counts.append(max(min(FEWEST_CHANNELS, counts[-1]), counts[-1] // 2))
    return tuple(counts[: len(sizes_up_to(resolution))])


def _with_channels(config: FitConfig, width: int | None, critic_width: int | None) -> FitConfig:
    for name, value in (("width", width), ("critic_width", critic_width)):
        if value is not None and not 1 <= value <= MOST_CHANNELS:
            raise UsageError(f"--{name.replace('_', '-')} has to be from 1 to {MOST_CHANNELS}.")
    width = width or default_width(config.resolution)
    if critic_width is None:
        critic_width = min(width, PICTURE_HEAD_WIDTH) if config.critic == "seeing" else width
    return replace(
        config,
        channels=config.channels or channels_for(config.resolution, width),
        critic_channels=config.critic_channels or channels_for(config.resolution, critic_width),
    )


def default_width(resolution: int) -> int:
    """Channels at 4 pixels: twice the resolution, so that 16 are left at the picture's own size."""
    return min(512, 2 * resolution)


def differences(saved: FitConfig, wanted: FitConfig) -> list[str]:
    """What keeps `wanted` from continuing `saved`, each as 'name: saved → wanted'."""
    return [
        f"{field.name}: {getattr(saved, field.name)} → {getattr(wanted, field.name)}"
        for field in fields(FitConfig)
        if field.name not in MAY_CHANGE and getattr(saved, field.name) != getattr(wanted, field.name)
    ]


def with_changes(config: FitConfig, **changes: Any) -> FitConfig:
    """A copy with those changes that are not None, checked; widths stand for channels as in `make_config`."""
    given = {name: value for name, value in changes.items() if value is not None}
    widths = {name: given.pop(name, None) for name in ("width", "critic_width")}
    changed = replace(config, **given)
    changed.check()
    if any(widths.values()):
        changed = _with_channels(replace(changed, channels=(), critic_channels=()), **widths)
    return changed
