"""What is deployed: units that systemd accepts, what the daemon tells it, secrets from files, completions."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.completions import scripts
from meshibot import sdnotify
from meshibot.config import load_settings
from testbed.command import ROOT, Command
from testbed.fakes.x import CREDENTIALS, FakeX
from testbed.homes import stocked, wait_for

UNITS = sorted((ROOT / "deploy").glob("*.service"))
SYSTEM_UNITS = [unit for unit in UNITS if "user" not in unit.name]
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def directives(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text("utf-8"), re.M))


@needs_systemd
@pytest.mark.parametrize("unit", SYSTEM_UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_understood_and_shut_in(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"), flags=re.M))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False
    )
    assert unit.name not in verified.stderr, verified.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-200:] + judged.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_restarts_what_waiting_mends(unit: Path) -> None:
    said = directives(unit)
    assert said["Restart"] == "on-failure"
    assert said["RestartPreventExitStatus"] == "2", "what UsageError ends with"
    assert said["LimitCORE"] == "0"


def test_the_units_run_in_one_home() -> None:
    for unit in SYSTEM_UNITS:
        assert directives(unit)["Environment"] == "MESHIBOT_HOME=/var/lib/meshibot"
    daemon = directives(ROOT / "deploy" / "meshibot.service")
    assert daemon["ExecStart"] == "/opt/meshibot/bin/meshibot run"
    assert "MemoryDenyWriteExecute" not in daemon, "sampling would die"
    assert "ProcSubset" not in daemon, "torch would not start"


def receive(tell_at: socket.socket) -> list[str]:
    """What was told so far."""
    tell_at.setblocking(False)
    told = []
    while True:
        try:
            told += tell_at.recv(4096).decode().splitlines()
        except BlockingIOError:
            return told


def test_a_daemon_says_when_it_is_ready_and_when_it_ends(bot: Command, tmp_path: Path) -> None:
    bot = stocked(bot)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        at.bind(str(tmp_path / "notify"))
        told: list[str] = []

        def ready() -> bool:
            told.extend(receive(at))
            return "READY=1" in told

        environment = bot.environment() | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            [sys.executable, "-m", "meshibot", "run"], cwd=bot.here, env=environment, stderr=subprocess.PIPE
        ) as process:
            try:
                wait_for(ready)
                assert bot("status", "--alive").returncode == 0
            finally:
                process.terminate()
                process.communicate(timeout=60)
        told += receive(at)
    assert told[-1] == "STOPPING=1"
    assert "STATUS=Posting for main" in told
    assert bot("status", "--alive").returncode == 1


def test_an_abstract_socket_is_told_and_none_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"meshibot-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        at.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        sdnotify.tell("WATCHDOG=1")
        assert receive(at) == ["WATCHDOG=1"]
    sdnotify.tell("WATCHDOG=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    sdnotify.tell("WATCHDOG=1")


def test_secrets_come_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_x: FakeX, bot: Command
) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, value in (
        ("MESHIBOT_PUBLISHER", "x"),
        ("meshibot_x_consumer_key", CREDENTIALS.consumer_key),
        ("meshibot_x_consumer_secret", CREDENTIALS.consumer_secret),
        ("meshibot_x_access_token", CREDENTIALS.access_token),
        ("meshibot_main_x_access_token_secret", f"{CREDENTIALS.access_token_secret}\n"),
        ("another_programs", "s3cr3t"),
    ):
        (folder / name).write_text(value)
    (folder / "..data").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MESHIBOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (tmp_path / ".env").write_text("MESHIBOT_PUBLISHER=folder\nMESHIBOT_CAPTIONS=en\n")
    settings = load_settings()
    assert (settings.accounts[0].publisher, settings.accounts[0].captions) == ("x", "en")
    assert set(CREDENTIALS.secrets()) <= set(settings.secrets)
    assert settings.accounts[0].origins["publisher"] == str(folder)
    monkeypatch.setenv("MESHIBOT_PUBLISHER", "folder")
    assert load_settings().accounts[0].publisher == "folder", "the environment wins"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("meshibot_x_token", b"x", "is no setting"),
        ("meshibot_captions", b"\xff\xfe", "no text in UTF-8"),
        ("meshibot_stock_target", b"many", "MESHIBOT_STOCK_TARGET in"),
    ],
)
def test_a_wrong_credential_is_one_sentence(bot: Command, name: str, content: bytes, says: str) -> None:
    folder = bot.folder / "credentials"
    folder.mkdir()
    (folder / name).write_bytes(content)
    environment = bot.environment() | {"CREDENTIALS_DIRECTORY": str(folder)}
    for where, said in ((folder, says), (bot.folder / "missing", "can't be read")):
        environment["CREDENTIALS_DIRECTORY"] = str(where)
        done = subprocess.run(
            [sys.executable, "-m", "meshibot", "config"],
            cwd=bot.here, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_completions_are_those_of_the_commands() -> None:
    for file, text in scripts().items():
        assert file.read_text("utf-8") == text, "run python deploy/completions.py"


def test_the_image_is_made_of_what_there_is() -> None:
    """Nothing here runs a container: see docs/operating.md for what was tried by hand."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    for source in re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.M):
        assert (ROOT / source).exists()
    assert re.search(r"^USER \d+:\d+$", dockerfile, re.M), (
        "numeric, for Kubernetes to see that it is not root"
    )
    assert 'ENTRYPOINT ["meshibot"]' in dockerfile, "exec form, or no signal arrives"
