"""Writes the completion scripts beside this file anew: `python deploy/completions.py`."""

from pathlib import Path

from typer._completion_shared import get_completion_script

HERE = Path(__file__).parent / "completions"
NAMES = {"bash": "{}.bash", "zsh": "_{}", "fish": "{}.fish"}


def scripts() -> dict[Path, str]:
    """File to text, for each command and shell."""
    return {
        HERE / name.format(command): get_completion_script(
            prog_name=command, complete_var=f"_{command.upper()}_COMPLETE", shell=shell
        )
        + "\n"
        for command in ("meshibot", "trainer")
        for shell, name in NAMES.items()
    }


if __name__ == "__main__":
    for file, text in scripts().items():
        file.write_text(text, "utf-8")
