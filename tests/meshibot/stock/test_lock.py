"""One process samples for a home at a time, and its end, however it comes, lets the next one on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshibot.errors import MeshibotError
from meshibot.stock.lock import only_sampler

HOLD = (
    "import pathlib, sys, time\n"
    "from meshibot.stock.lock import only_sampler\n"
    "with only_sampler(pathlib.Path(sys.argv[1]), time.sleep):\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_waits_goes_on_when_the_other_is_killed(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            holder.kill()
        time.sleep(0.05)

    with holder, only_sampler(tmp_path, sleep) as mine:
        assert mine
    assert looks >= 3


def test_who_waits_goes_away_when_there_is_enough(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    looks = iter([False, False, True])
    with holder:
        with only_sampler(tmp_path, lambda _: None, lambda: next(looks)) as mine:
            assert not mine
        holder.kill()


def test_who_waits_can_be_stopped(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    def stopped() -> bool:
        raise MeshibotError("Sampling was stopped.")

    with holder:
        with (
            pytest.raises(MeshibotError, match="stopped"),
            only_sampler(tmp_path, lambda _: None, stopped),
        ):
            pass
        holder.kill()


def test_there_may_be_enough_when_the_lock_is_had(tmp_path: Path) -> None:
    with only_sampler(tmp_path, time.sleep, lambda: True) as mine:
        assert not mine
