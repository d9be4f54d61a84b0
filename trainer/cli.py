"""The command line: options to calls. Torch is imported inside the commands, so that --help is quick."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from importlib import metadata as packages
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from trainer.config import FitConfig, make_config, shape_settings, with_changes
from trainer.device import told_faults
from trainer.errors import TrainerError, UsageError
from trainer.streams import give_up_output, open_standard_streams, sentence


class _Command(TyperCommand):
    """Flags are shown without a type: there is nothing to give them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


def _flags_bare(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learns a folder of photographs with WGAN-GP and writes a checkpoint that meshibot samples.",
)
_people = Console(stderr=True, highlight=False, soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        try:
            print(f"trainer {packages.version('meshibot')}")
        except packages.PackageNotFoundError:
            print("trainer (a checkout that is not installed)")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def _seed(value: int | None) -> int | None:
    """The bot's own seeds have 62 bits, so that each of its pictures can be drawn again by hand."""
    if value is not None and not 0 <= value < 2**62:
        raise typer.BadParameter("a seed is a whole number from 0 to 2⁶² − 1.")
    return value


def _weights(value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(map(float, value.split(",")))
    except ValueError:
        raise typer.BadParameter(
            "weights are numbers with commas between them, such as 1,3,3,2.5,2.5,2."
        ) from None


RESOLUTION_HELP = f"32, 64, 128, 256 or 512 pixels a side. (default: {FitConfig.resolution})"
CheckpointArgument = Annotated[Path, typer.Argument(help="A .safetensors file made by fit.")]
SeedOption = Annotated[
    int,
    typer.Option(callback=_seed, help="Seed of the first picture; the next has the next."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or mps (Apple's GPUs; untried).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ObjectiveOption = Annotated[
    str | None, typer.Option(help=f"wgan-gp, wgan or dcgan. (default: {FitConfig.objective})")
]
PresetOption = Annotated[str | None, typer.Option(help=f"article or modern. (default: {FitConfig.preset})")]
ResolutionOption = Annotated[int | None, typer.Option(help=RESOLUTION_HELP)]
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
    typer.Option(help=f"auto (bf16 on a GPU that has it), float32 or bf16. (default: {FitConfig.precision})"),
]


def _say(text: str) -> None:
    """A line for people; of several processes of one run only the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        _people.print(text, markup=False)


def _print_json(document: Any) -> None:
    """In UTF-8, as JSON is; what is none in a path becomes JSON's own escapes."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _print_path(path: Path) -> None:
    """On standard output, also where its bytes are no UTF-8."""
    typer.echo(os.fsencode(path))


def _load_torch() -> None:
    """Import torch, with Ctrl-C ending the process at once: half imported, torch makes other errors of it."""
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    try:
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, before)


@app.command(cls=_Command)
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
            f"be looked at again; 0 keeps nothing. (default: {FitConfig.cache_gb:g})"
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
        typer.Option(callback=_seed, help=f"Start of all randomness. (default: {FitConfig.seed})"),
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
    _load_torch()
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
            _say(line)
        if dry_run:
            _dry_run(config)
            return

        from trainer.training.fit import fit as train

        result = train(config, dataset, out, resume=resume, say=_say, workers=workers)
    if not result.finished:
        _say(f"Saved at step {result.step}. Go on with: trainer fit --resume --out {_quoted(out)}")
        sys.exit(128 + (result.stopped_by or signal.SIGINT))  # a shell's script must not go on
    _say(f"Done at step {result.step}: {result.checkpoint}")
    _say(f"How it went, as a page: trainer report {_quoted(out)}")


def _new(data: Path | None, objective: str | None, preset: str | None, options: dict[str, Any]) -> FitConfig:
    """The settings of a new run."""
    if data is None:
        raise UsageError("Give the folder of photographs: trainer fit --data FOLDER.")
    if options["init"] is not None:
        options = _begun_as(Path(options["init"]), options)
    return make_config(data, preset or FitConfig.preset, objective or FitConfig.objective, **options)


def _begun_as(init: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the shape of a checkpoint. Raises UsageError where the user wants another."""
    from trainer.checkpoint import read_metadata

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
    _say(json.dumps(config.to_json(), indent=2, ensure_ascii=False))
    _say(
        f"Would train on {choose_device(config.device)}: generator {sizes[0]:,} and critic {sizes[1]:,} "
        "parameters. Nothing was written."
    )


@app.command(cls=_Command)
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
    _load_torch()

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


@app.command(cls=_Command)
def sample(
    checkpoint: CheckpointArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 16,
    grid: Annotated[Path | None, typer.Option(help="Also draw them on one sheet, a PNG.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Draw pictures from a checkpoint, one PNG a seed."""
    if out is None and grid is None:
        raise UsageError("Say where the pictures go: --out FOLDER, --grid FILE.png, or both.")
    _load_torch()

    from trainer.sample import write_samples

    names = write_samples(checkpoint, n, out, grid, seed, device)
    for name in names:
        _print_path(name)


@app.command(cls=_Command)
def inspect(
    checkpoint: CheckpointArgument,
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


@app.command(cls=_Command)
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder or zip of photographs as they were found.")],
    out: Annotated[Path, typer.Option(help="New folder for the squares, or a .zip.")],
    resolution: Annotated[int, typer.Option(min=32, help="Pixels a side, at most.")] = 256,
    keep: Annotated[
        float,
        typer.Option(
            help="Share of the photographs to keep, such as 0.85: the least typical are left out, by what a "
            "pretrained network sees."
        ),
    ] = 1.0,
) -> None:
    """Check, turn upright, crop and deduplicate photographs; leaves a page of what was left out and why."""
    from trainer.prepare.prepare import prepare as prepare_photographs

    if keep != 1:
        _load_torch()
    report = prepare_photographs(source, out, resolution=resolution, keep=keep)
    _say(report.describe())


@app.command(cls=_Command)
def evaluate(
    checkpoint: CheckpointArgument,
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
    _load_torch()

    from trainer.evaluate import evaluate as judge

    report = judge(checkpoint, data, count=n, first_seed=seed, device=device, inception=fid, pairs=pairs)
    if as_json:
        _print_json(report.to_json())
        return
    Console().print(report.table())
    for note in report.notes:
        _say(note)


@app.command(cls=_Command)
def morph(
    checkpoint: CheckpointArgument,
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
    _load_torch()

    from trainer.morph import Plan
    from trainer.morph import morph as walk

    result = walk(checkpoint, out, Plan(seconds, fps, keyframes, size, seed), device=device, say=_say)
    _say(result.describe())
    _print_path(result.path)


@app.command(cls=_Command)
def report(
    run: Annotated[Path, typer.Argument(help="Run folder of a fit, finished or going on.")],
    data: Annotated[
        Path | None, typer.Option(help="The photographs, where they are not where fit found them.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw a run as one page that works offline: curves, figures, how the pictures came to be."""
    _load_torch()

    from trainer.report.report import write_report

    _print_path(write_report(run, data, device=device))


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and its status, not in a traceback."""
    open_standard_streams()
    try:
        try:
            with told_faults("close other programs, or ask for less: a smaller --batch, --n or --size"):
                app()
        finally:
            sys.stdout.flush()  # what can't be written is said by the sentences below, not by Python's exit
    except TrainerError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:  # the reader went away (`| head`): nothing is wrong
        give_up_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        give_up_output()
        _end(sentence(error), 1)


def _end(says: str, status: int) -> None:
    _people.print(f"trainer: {says}", markup=False, style="red")
    sys.exit(status)


if __name__ == "__main__":
    main()
