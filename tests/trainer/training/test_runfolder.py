"""The folder of a run: what is refused in it, who holds it, and how its settings are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config import make_config, with_changes
from trainer.errors import TrainerError, UsageError
from trainer.training.runfolder import (
    held,
    read_run_config,
    refuse_differences,
    refuse_taken,
    write_run_config,
)


def put(run: Path, name: str, content: bytes = b"x") -> None:
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_bytes(content)


def test_a_run_that_can_go_on_is_in_the_way(tmp_path: Path) -> None:
    put(tmp_path, "state/state-00000002.safetensors")
    with pytest.raises(UsageError, match="add --resume"):
        refuse_taken(tmp_path)


@pytest.mark.parametrize("name", ["checkpoints/best.safetensors", "metrics.jsonl"])
def test_what_is_left_of_a_run_is_not_mixed_with_another(tmp_path: Path, name: str) -> None:
    """Without states there is nothing to resume: to say so would send people in a circle."""
    put(tmp_path, name)
    with pytest.raises(UsageError, match="give another --out, or remove") as refused:
        refuse_taken(tmp_path)
    assert "--resume" not in str(refused.value)


def test_where_nothing_was_trained_a_run_may_begin(tmp_path: Path) -> None:
    refuse_taken(tmp_path / "new")
    put(tmp_path, "config.json")
    put(tmp_path, "metrics.jsonl", b"")
    put(tmp_path, "photograph.jpg")
    refuse_taken(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        refuse_taken(tmp_path / "photograph.jpg")


def test_a_run_is_held_by_one_fit_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    with held(run), pytest.raises(UsageError, match="Another trainer fit is at work"), held(run):
        pass
    with held(run):
        pass


def test_the_system_lets_go_of_a_run_whose_fit_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.training.runfolder import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="at work"), held(tmp_path):
            pass
        other.kill()
    with held(tmp_path):
        pass


def test_a_folder_that_cant_be_made_is_one_sentence(tmp_path: Path) -> None:
    put(tmp_path, "file")
    with pytest.raises(TrainerError, match="can't be written"), held(tmp_path / "file" / "run"):
        pass


def test_settings_are_read_back_also_with_a_path_that_is_no_utf8(tmp_path: Path) -> None:
    shop = Path(os.fsdecode(b"\x83\x89\x81\x5b\x83\x81\x83\x93"))  # ラーメン in Shift-JIS
    config = make_config(shop / "写真", "modern", "wgan-gp", resolution=32, width=8)
    write_run_config(tmp_path, config)
    assert read_run_config(tmp_path) == config
    assert "写真" in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_settings_that_make_another_run_are_named(tmp_path: Path) -> None:
    saved = make_config(tmp_path, "modern", "wgan-gp", resolution=32)
    refuse_differences(tmp_path, saved, with_changes(saved, steps=7, minutes=3.0, device="cpu", cache_gb=0.5))
    with pytest.raises(UsageError, match=r"batch: 16 → 4.*drop those options"):
        refuse_differences(tmp_path, saved, with_changes(saved, batch=4))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"batch": 4}', b"\xff"])
def test_a_folder_without_settings_is_no_run(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "config.json", content)
    with pytest.raises(TrainerError, match="is not a run folder"):
        read_run_config(tmp_path)
