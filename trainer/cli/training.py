"""Commands on a run: training, timing one beforehand, drawing one as a page."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.cli.apps import Command, DeviceOption, JsonOption, app, seed_in_range
from trainer.cli.shared import load_torch, print_json, print_path, say
from trainer.config import MOST_CACHE_GB, FitConfig, make_config, shape_settings, with_changes
from trainer.errors import UsageError


def _weights(value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(map(float, value.split(",")))
    except ValueError:
        raise typer.BadParameter(
            "weights are numbers with commas between them, such as 1,3,3,2.5,2.5,2."
        ) from None


ObjectiveOption = Annotated[
    str | None, typer.Option(help=f"wgan-gp, wgan or dcgan. (default: {FitConfig.objective})")
]
PresetOption = Annotated[str | None, typer.Option(help=f"article or modern. (default: {FitConfig.preset})")]
ResolutionOption = Annotated[
    int | None,
    typer.Option(help=f"32, 64, 128, 256 or 512 pixels a side. (default: {FitConfig.resolution})"),
]
BatchOption = Annotated[int | None, typer.Option(help=f"Pictures in a batch. (default: {FitConfig.batch})")]
StepsOption = Annotated[int | None, typer.Option(help=f"Generator updates. (default: {FitConfig.steps})")]
CriticStepsOption = Annotated[
    int | None,
    typer.Option(help=f"Critic updates for each generator update. (default: {FitConfig.n_critic})"),
]
GeneratorOption = Annotated[
    str | None,
    typer.Option(
        help=f"gated, or plain: the article's kind, simpler and weaker. (default: {FitConfig.generator})"
    ),
]
CriticOption = Annotated[
    str | None,
    typer.Option(
        help="seeing: looks through a network that has seen a million photographs; plain: at pixels alone. "
        f"(default: {FitConfig.critic})"
    ),
]
WidthOption = Annotated[
    int | None,
    typer.Option(help="Feature channels of the generator at 4 pixels. (default: twice the resolution)"),
]
CriticWidthOption = Annotated[
    int | None,
    typer.Option(
        help="The same of the critic's part that looks at the picture itself. (default: 64 or less where it "
        "sees, else as the generator)"
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(help=f"auto (bf16 where it is quicker), float32 or bf16. (default: {FitConfig.precision})"),
]


@app.command(cls=Command)
def fit(
    data: Annotated[Path | None, typer.Option(help="Folder (or zip) of photographs.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder: metrics, samples, states, checkpoints.")] = Path(
        "run"
    ),
    objective: ObjectiveOption = None,
    resolution: ResolutionOption = None,
    batch: BatchOption = None,
    steps: StepsOption = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="End after this time, with learning rates that fall towards its end; such a run can't be "
            "repeated bit for bit. (default: 0, no limit)"
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Begin as this checkpoint, also of another resolution: for few photographs of one's own, or "
            "to go on in twice the size."
        ),
    ] = None,
    n_critic: CriticStepsOption = None,
    critic_lr: Annotated[
        float | None, typer.Option(help=f"Learning rate of the critic. (default: {FitConfig.critic_lr})")
    ] = None,
    generator_lr: Annotated[
        float | None,
        typer.Option(help=f"Learning rate of the generator. (default: {FitConfig.generator_lr})"),
    ] = None,
    generator: GeneratorOption = None,
    critic: CriticOption = None,
    width: WidthOption = None,
    critic_width: CriticWidthOption = None,
    head_weights: Annotated[
        str | None,
        typer.Option(
            callback=_weights,
            help="How much each head of the critic counts, such as 1,3,3,2.5,2.5,2: the picture's own, then "
            "those of the maps from fine to coarse. (default: 2,4,4,2.5,1.7,1)",
        ),
    ] = None,
    generator_norm: Annotated[
        str | None,
        typer.Option(help=f"Of a plain one: pixel, batch or none. (default: {FitConfig.generator_norm})"),
    ] = None,
    cache_gb: Annotated[
        float | None,
        typer.Option(
            help="Gigabytes of memory for what a seeing critic sees in the photographs, which then need not "
            f"be looked at again; 0 keeps nothing. (default: a quarter of what this machine has, "
            f"{MOST_CACHE_GB:g} at most)"
        ),
    ] = None,
    colour: Annotated[
        float | None, typer.Option(help="Augmentation in colour, 0 to 1. (default: 0, off)")
    ] = None,
    translation: Annotated[
        float | None, typer.Option(help="Augmentation by shifts, as a share of the side. (default: 0, off)")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(callback=seed_in_range, help=f"Start of all randomness. (default: {FitConfig.seed})"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, or mps (Apple's GPUs; untried). (default: auto)"),
    ] = None,
    precision: PrecisionOption = None,
    compile_: Annotated[
        str | None,
        typer.Option(
            "--compile", help="auto (where it pays), on or off: compiled gradients. (default: auto)"
        ),
    ] = None,
    preset: PresetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on exactly where --out was stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
    snap: Annotated[
        int | None,
        typer.Option(help=f"Steps between grids, states and checkpoints. (default: {FitConfig.snap})"),
    ] = None,
    eval_every: Annotated[
        int | None,
        typer.Option(help=f"Steps between looks at held-out pictures. (default: {FitConfig.eval_every})"),
    ] = None,
    log_every: Annotated[
        int | None, typer.Option(help=f"Steps between status lines. (default: {FitConfig.log_every})")
    ] = None,
    guard: Annotated[
        bool | None,
        typer.Option("--guard/--no-guard", help="Go back when training collapses. (default: guard)"),
    ] = None,
) -> None:
    """Train on a folder of photographs."""
    options: dict[str, Any] = {
        "resolution": resolution, "batch": batch, "steps": steps, "n_critic": n_critic, "minutes": minutes,
        "seed": seed, "device": device, "precision": precision, "snap": snap, "eval_every": eval_every,
        "critic_lr": critic_lr, "generator_lr": generator_lr, "log_every": log_every, "guard": guard,
        "compile": compile_, "generator_norm": generator_norm, "colour": colour, "translation": translation,
        "generator": generator, "critic": critic, "width": width, "critic_width": critic_width,
        "cache_gb": cache_gb, "head_weights": head_weights, "init": str(init) if init else None,
    }  # fmt: skip
    if resume:
        changes = {"data": str(data) if data else None, "objective": objective, "preset": preset, **options}
        config = _resumed(out, changes)
    else:
        config = _new(data, objective, preset, options)
    load_torch()
    _refuse_early(config, out, resume, dry_run)

    from trainer.data.dataset import Dataset, load_dataset
    from trainer.device import choose_device
    from trainer.training.distributed import joined

    with joined(choose_device(config.device)) as workers:

        def load() -> Dataset:
            data = Path(config.data)
            return load_dataset(data, config.resolution, write=not dry_run, progress=workers.lead)

        dataset = workers.lead_first(load)
        for line in dataset.describe():
            say(line)
        if dry_run:
            _dry_run(config)
            return

        from trainer.training.fit import fit as train

        result = train(config, dataset, out, resume=resume, say=say, workers=workers)
    if not result.finished:
        say(f"Saved at step {result.step}. Go on with: trainer fit --resume --out {_quoted(out)}")
        sys.exit(128 + (result.stopped_by or signal.SIGINT))  # a shell's script must not go on
    say(f"Done at step {result.step}: {result.checkpoint}")
    say(f"How it went, as a page: trainer report {_quoted(out)}")


def _new(data: Path | None, objective: str | None, preset: str | None, options: dict[str, Any]) -> FitConfig:
    """The settings of a new run."""
    if data is None:
        raise UsageError("Give the folder of photographs: trainer fit --data FOLDER.")
    if options["init"] is not None:
        options = _begun_as(Path(options["init"]), options)
    return make_config(data, preset or FitConfig.preset, objective or FitConfig.objective, **options)


def _begun_as(init: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the shape of a checkpoint. Raises UsageError where the user wants another."""
    from trainer.metadata import read_metadata

    given = [
        name
        for name in ("generator", "critic", "width", "critic_width", "generator_norm")
        if options[name] is not None
    ]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"With --init the networks are the checkpoint's: leave out {names}.")
    metadata = read_metadata(init)
    make_config(Path(), FitConfig.preset, FitConfig.objective, resolution=options["resolution"])  # is known
    return options | shape_settings(metadata.networks, options["resolution"] or metadata.resolution)


def _resumed(out: Path, changes: dict[str, Any]) -> FitConfig:
    """The settings of a run that goes on, with the user's changes. Raises UsageError where they can't be."""
    from trainer.training.runfolder import read_run_config, refuse_differences

    saved = read_run_config(out)
    wanted = with_changes(saved, **changes)
    refuse_differences(out, saved, wanted)
    return wanted


def _refuse_early(config: FitConfig, out: Path, resume: bool, dry_run: bool) -> None:
    """Raise what can be known before the photographs are read, which may take long."""
    from trainer.device import choose_device
    from trainer.nets.efficientnet import read_weights
    from trainer.training.distributed import Workers
    from trainer.training.runfolder import held, refuse_photographs, refuse_taken
    from trainer.training.state import newest_state

    choose_device(config.device)
    Workers(size=int(os.environ.get("WORLD_SIZE", "1"))).share(config.batch)
    if config.critic == "seeing":
        read_weights()
    if not resume:
        refuse_taken(out)
        refuse_photographs(out, Path(config.data))
    elif not dry_run:
        newest_state(out / "state", lambda word: None)
        if os.environ.get("RANK", "0") == "0":
            with held(out):
                pass


def _quoted(path: Path) -> str:
    """As a shell takes it."""
    return shlex.quote(str(path))


def _dry_run(config: FitConfig) -> None:
    """What would be trained, in settings and sizes."""
    import torch

    from trainer.device import choose_device
    from trainer.nets.critic import Critic
    from trainer.nets.generator import make_generator

    arch = config.architecture
    with torch.device("meta"):
        networks = make_generator(arch.generator), Critic(arch.critic)
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    say(json.dumps(config.to_json(), indent=2, ensure_ascii=False))
    say(
        f"Would train on {choose_device(config.device)}: generator {sizes[0]:,} and critic {sizes[1]:,} "
        "parameters. Nothing was written."
    )


@app.command(cls=Command)
def bench(
    objective: ObjectiveOption = None,
    resolution: ResolutionOption = None,
    batch: BatchOption = None,
    steps: StepsOption = None,
    n_critic: CriticStepsOption = None,
    generator: GeneratorOption = None,
    critic: CriticOption = None,
    width: WidthOption = None,
    critic_width: CriticWidthOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    preset: PresetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine can do, and how long a run will take, before it starts."""
    options = {
        "resolution": resolution, "batch": batch, "steps": steps, "n_critic": n_critic, "width": width,
        "generator": generator, "critic": critic, "critic_width": critic_width,
        "device": device, "precision": precision,
    }  # fmt: skip
    config = make_config(Path(), preset or FitConfig.preset, objective or FitConfig.objective, **options)
    load_torch()

    from trainer.training.bench import bench as measure

    found = measure(config)
    if as_json:
        print_json(
            {
                "device": found.device,
                "cycle_seconds": found.cycle_seconds,
                "images_per_second": found.images_per_second,
                "run_seconds": found.run_seconds,
            }
        )
        return
    typer.echo(found.describe())


@app.command(cls=Command)
def report(
    run: Annotated[Path, typer.Argument(help="Run folder of a fit, finished or going on.")],
    data: Annotated[
        Path | None, typer.Option(help="The photographs, where they are not where fit found them.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw a run as one page that works offline: curves, figures, how the pictures came to be."""
    load_torch()

    from trainer.report.report import write_report

    print_path(write_report(run, data, device=device))
