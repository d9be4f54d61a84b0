"""How much memory there is, by machine and control group, and how much was taken."""

from pathlib import Path

import pytest

from trainer.memory import _group_limits, keep_freed_memory, memory_limit_gb, memory_mb


def test_memory_is_counted_in_megabytes() -> None:
    keep_freed_memory()
    assert 50 < memory_mb() < 50_000


def written(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_machine_has_memory() -> None:
    assert 0.1 < memory_limit_gb() < 1e6


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/", {"memory.max": "2000000000\n"}, [2e9]),  # a container
        ("0::/a.slice/b", {"a.slice/b/memory.max": "max\n", "a.slice/memory.max": "3000000\n"}, [3e6]),
        ("4:memory:/a\n3:cpuset:/", {"memory/a/memory.limit_in_bytes": "1000\n"}, [1000.0]),
        ("9:name=systemd:/\n0::/", {}, []),
        ("0::/../x", {"memory.max": "5\n"}, [5.0]),  # seen from within another name space
        (None, {}, []),
    ],
)
def test_a_control_group_may_allow_less(
    groups: str | None, files: dict[str, str], wanted: list[float], tmp_path: Path
) -> None:
    if groups is not None:
        written(tmp_path, proc__self__cgroup=groups)
    for name, text in files.items():
        written(tmp_path, **{f"sys/fs/cgroup/{name}": text})
    assert list(_group_limits(tmp_path)) == wanted
