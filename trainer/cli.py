"""The command line: options to calls. Torch is imported inside the commands, so that --help is quick."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from trainer.config import FitConfig, make_config, with_changes
from trainer.errors import TrainerError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learns a folder of photographs with WGAN-GP and writes a checkpoint that meshibot samples.",
)
_people = Console(stderr=True, highlight=False, soft_wrap=True)


def _seed(value: int | None) -> int | None:
    """The bot's own seeds have 62 bits, so that each of its pictures can be drawn again by hand."""
    if value is not None and not 0 <= value < 2**62:
        raise typer.BadParameter("a seed is a whole number from 0 to 2⁶² − 1.")
    return value


SeedOption = Annotated[
    int,
    typer.Option(callback=_seed, help="Seed of the first picture; the next has the next."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def _say(text: str) -> None:
    """A line for people; of several processes of one run only the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        _people.print(text, markup=False)


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@app.command()
def fit(
    data: Annotated[Path | None, typer.Option(help="Folder (or zip) of photographs.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder: metrics, samples, states, checkpoints.")] = Path(
        "run"
    ),
    objective: Annotated[str | None, typer.Option(help="wgan-gp, wgan or dcgan. (default: wgan-gp)")] = None,
    resolution: Annotated[int | None, typer.Option(help="32, 64, 128 or 256. (default: 64)")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    steps: Annotated[
        int | None, typer.Option(help=f"Generator updates. (default: {FitConfig.steps})")
    ] = None,
    n_critic: Annotated[int | None, typer.Option(help="Critic updates for each generator update.")] = None,
    critic_lr: Annotated[float | None, typer.Option(help="Learning rate of the critic.")] = None,
    generator_lr: Annotated[float | None, typer.Option(help="Learning rate of the generator.")] = None,
    width: Annotated[int | None, typer.Option(help="Feature channels of the widest level.")] = None,
    generator: Annotated[str | None, typer.Option(help="gated or plain. (default: gated)")] = None,
    critic: Annotated[
        str | None,
        typer.Option(help="seeing (through a pretrained network) or plain. (default: seeing)"),
    ] = None,
    generator_norm: Annotated[str | None, typer.Option(help="pixel, batch or none. (default: batch)")] = None,
    colour: Annotated[
        float | None, typer.Option(help="Augmentation in colour, 0 to 1. (default: 0, off)")
    ] = None,
    translation: Annotated[
        float | None, typer.Option(help="Augmentation by shifts, as a share of the side. (default: 0, off)")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(callback=_seed, help=f"Start of all randomness. (default: {FitConfig.seed})"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. (default: auto)")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (bf16 on a GPU), float32 or bf16. (default: auto)")
    ] = None,
    compile_: Annotated[
        str | None,
        typer.Option(
            "--compile", help="auto (where it pays), on or off: compiled gradients. (default: auto)"
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="article or modern. (default: modern)")] = None,
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
        "resolution": resolution, "batch": batch, "steps": steps, "n_critic": n_critic, "width": width,
        "seed": seed, "device": device, "precision": precision, "snap": snap, "eval_every": eval_every,
        "critic_lr": critic_lr, "generator_lr": generator_lr, "log_every": log_every, "guard": guard,
        "compile": compile_, "generator_norm": generator_norm, "colour": colour, "translation": translation,
        "generator": generator, "critic": critic,
    }  # fmt: skip
    config = _config(data, out, objective, preset, resume, options)

    if config.device == "cuda":
        from trainer.device import choose_device

        choose_device(config.device)  # refuses before the photographs are read

    from trainer.data.dataset import load_dataset

    dataset = load_dataset(Path(config.data), config.resolution)
    for left in dataset.left_out:
        _say(f"left out {left.path}: {left.reason}")
    _say(
        f"{len(dataset.training)} photographs to train on, {len(dataset.held_out)} held out, "
        f"{len(dataset.left_out)} left out, {dataset.duplicates} duplicates."
    )
    if dry_run:
        _dry_run(config)
        return

    from trainer.training.fit import fit as train

    result = train(config, dataset, out, resume=resume, say=_say)
    if result.finished:
        _say(f"Done at step {result.step}: {result.checkpoint}")
    else:
        _say(f"Saved at step {result.step}. Go on with: trainer fit --resume --out {out}")


def _config(
    data: Path | None,
    out: Path,
    objective: str | None,
    preset: str | None,
    resume: bool,
    options: dict[str, Any],
) -> FitConfig:
    """The settings of a new run, or those of the run that is resumed with the user's changes."""
    if resume:
        from trainer.training.runfolder import read_run_config

        changes = {"data": str(data) if data else None, "objective": objective, "preset": preset, **options}
        return with_changes(read_run_config(out), **changes)
    if data is None:
        raise UsageError("Give the folder of photographs: trainer fit --data FOLDER.")
    return make_config(data, preset or "modern", objective or "wgan-gp", **options)


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
    _say(json.dumps(config.to_json(), indent=2, ensure_ascii=False))
    _say(
        f"Would train on {choose_device(config.device)}: generator {sizes[0]:,} and critic {sizes[1]:,} "
        "parameters. Nothing was written."
    )


@app.command()
def bench(
    objective: Annotated[str, typer.Option(help="wgan-gp, wgan or dcgan.")] = "wgan-gp",
    resolution: Annotated[int | None, typer.Option(help="32, 64, 128 or 256. (default: 64)")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    steps: Annotated[int | None, typer.Option(help="Generator updates of the run.")] = None,
    n_critic: Annotated[int | None, typer.Option(help="Critic updates for each generator update.")] = None,
    width: Annotated[int | None, typer.Option(help="Feature channels of the widest level.")] = None,
    generator: Annotated[str | None, typer.Option(help="gated or plain. (default: gated)")] = None,
    critic: Annotated[str | None, typer.Option(help="seeing or plain. (default: seeing)")] = None,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="auto (bf16 on a GPU), float32 or bf16.")] = "auto",
    preset: Annotated[str, typer.Option(help="article or modern.")] = "modern",
    as_json: JsonOption = False,
) -> None:
    """Say what this machine can do, and how long a run will take, before it starts."""
    options = {
        "resolution": resolution, "batch": batch, "steps": steps, "n_critic": n_critic, "width": width,
        "device": device, "precision": precision, "generator": generator, "critic": critic,
    }  # fmt: skip
    config = make_config(Path(), preset, objective, **options)

    from trainer.training.bench import bench as measure

    found = measure(config)
    if as_json:
        _print_json(
            {
                "device": found.device,
                "cycle_seconds": found.cycle_seconds,
                "images_per_second": found.images_per_second,
                "run_seconds": found.run_seconds,
            }
        )
        return
    typer.echo(found.describe())


@app.command()
def sample(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 16,
    grid: Annotated[Path | None, typer.Option(help="Also draw them on one sheet, a PNG.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Draw pictures from a checkpoint, one PNG a seed."""
    if out is None and grid is None:
        raise UsageError("Say where the pictures go: --out FOLDER, --grid FILE.png, or both.")

    from trainer.sample import write_samples

    names = write_samples(checkpoint, n, out, grid, seed, device)
    for name in names:
        typer.echo(name)


@app.command()
def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a checkpoint is: architecture, objective, steps, data, calibration, figures."""
    from trainer.checkpoint import fingerprint_of, read_metadata

    metadata = read_metadata(checkpoint)
    document = {**metadata.to_json(), "fingerprint": fingerprint_of(checkpoint)}
    if as_json:
        _print_json(document)
        return
    marks = metadata.score_quantiles
    document["training_hashes"] = f"{len(metadata.training_hashes)} perceptual hashes"
    document["score_quantiles"] = (
        f"{len(marks)}, from {marks[0]:.3f} over {metadata.score_at(0.5):.3f} to {marks[-1]:.3f}"
    )
    document["metrics"] = ", ".join(
        f"{name} {metric.value:.4g}" + (f" (floor {metric.floor:.4g})" if metric.floor is not None else "")
        for name, metric in metadata.metrics.items()
    )
    width = max(map(len, document))
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {_words(value)}")


def _words(value: Any) -> str:
    """A part of a document in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder or zip of photographs as they were found.")],
    out: Annotated[Path, typer.Option(help="New folder for the squares, or a .zip.")],
    resolution: Annotated[int, typer.Option(min=32, help="Pixels a side, at most.")] = 256,
) -> None:
    """Check, turn upright, crop and deduplicate photographs; leaves a page of what was left out and why."""
    from trainer.prepare.prepare import prepare as prepare_photographs

    report = prepare_photographs(source, out, resolution=resolution)
    _say(report.describe())


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")],
    data: Annotated[Path, typer.Option(help="Folder (or zip) of the photographs it was trained on.")],
    n: Annotated[int, typer.Option("--n", min=4, help="How many pictures are judged.")] = 512,
    seed: SeedOption = 0,
    fid: Annotated[
        bool, typer.Option("--fid", help="Also FID and KID on Inception features (fetches its weights once).")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option(help="A PNG of the pictures nearest to a training photograph, beside what is nearest."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Judge a checkpoint's pictures against the photographs: each figure beside its floor."""
    from trainer.evaluate import evaluate as judge

    report = judge(checkpoint, data, count=n, first_seed=seed, device=device, inception=fid, pairs=pairs)
    if as_json:
        _print_json(report.to_json())
        return
    Console().print(report.table())
    for note in report.notes:
        _say(note)


@app.command()
def morph(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")],
    out: Annotated[Path, typer.Option(help="The file: .gif or .mp4.")],
    seconds: Annotated[float, typer.Option(help="Length of the loop.")] = 12.0,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 25.0,
    keyframes: Annotated[int, typer.Option(help="Pictures that are passed.")] = 8,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 512,
    seed: Annotated[
        int, typer.Option(callback=_seed, help="Seed of the first candidate for a keyframe.")
    ] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Walk between pictures that the critic believes in: a loop without a seam, within X's limits."""
    from trainer.morph import Plan
    from trainer.morph import morph as walk

    result = walk(checkpoint, out, Plan(seconds, fps, keyframes, size, seed), device=device, say=_say)
    _say(result.describe())
    typer.echo(result.path)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder of a fit, finished or going on.")],
    data: Annotated[
        Path | None, typer.Option(help="The photographs, where they are not where fit found them.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw a run as one page that works offline: curves, figures, how the pictures came to be."""
    from trainer.report.report import write_report

    typer.echo(write_report(run, data, device=device))


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and its status, not in a traceback."""
    try:
        app()
    except TrainerError as error:
        _people.print(f"trainer: {error}", markup=False, style="red")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
