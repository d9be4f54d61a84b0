"""A process that has imported the bot once, and from then on forks one for each command that a test runs.

Two thirds of what a short command takes is its imports, and the tests run a thousand of them. The forked
process is one of its own all the same, with its own environment, folder and streams. It begins where
`python -m meshibot` begins and ends as that does, but for taking down the interpreter: memory that all share
would be copied for it. What a command must not import is looked at in interpreters that are new.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = (
    *("alembic.command", "PIL.Image", "requests", "rich.console", "rich.table", "sqlalchemy.dialects.sqlite"),
    *("meshibot.cli", "meshibot.assembly", "meshibot.database.migrate", "meshibot.posting", "meshibot.views"),
    *("meshibot.health", "meshibot.stock.stock", "meshibot.outbox.people"),
)


class Zygote:
    """The process, from a test's side; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHIBOT_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testbed.zygote", str(theirs.fileno())],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self.close)

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        """Run a command to its end: its status as `subprocess` gives it, what it printed and what it said."""
        request = json.dumps(
            {"arguments": arguments, "folder": str(folder), "environment": environment}
        ).encode()
        self._socket.settimeout(timeout)
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            Path(os.devnull).open() as nothing,
        ):
            streams = [nothing.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._socket, [len(request).to_bytes(8)], streams)
            self._socket.sendall(request)
            number = _read(self._socket)
            try:
                status = _read(self._socket)
            except TimeoutError:
                os.kill(number, signal.SIGKILL)
                _read(self._socket)
                raise subprocess.TimeoutExpired(list(arguments), timeout) from None
            printed, said = (_text(file.fileno()) for file in (out, err))
        return status, printed, said

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


@cache
def zygote() -> Zygote:
    """The one of this process, which ends with it."""
    return Zygote()


def _text(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8", closefd=False) as file:
        return file.read()


def _read(ours: socket.socket) -> int:
    """A number that the other side sends."""
    data = ours.recv(8, socket.MSG_WAITALL)
    if len(data) < 8:
        raise EOFError("the zygote has ended")
    return int.from_bytes(data, signed=True)


def _serve(theirs: socket.socket) -> list[str] | None:
    """Fork for each request; the arguments, in a process that was forked, and None at the end."""
    while True:
        head, streams, _, _ = socket.recv_fds(theirs, 8, 3)
        if len(head) < 8:
            return None
        request = json.loads(theirs.recv(int.from_bytes(head), socket.MSG_WAITALL))
        number = os.fork()
        if number == 0:
            theirs.close()
            _become(request, streams)
            arguments: list[str] = request["arguments"]
            return arguments
        for stream in streams:
            os.close(stream)
        theirs.sendall(number.to_bytes(8, signed=True))
        _, status = os.waitpid(number, 0)
        theirs.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, signed=True))


def _become(request: dict[str, object], streams: Sequence[int]) -> None:
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.update(environment)
    time.tzset()


def _run(arguments: Sequence[str]) -> NoReturn:
    """Be `python -m meshibot`. Whatever ends it otherwise than by `sys.exit` does so in Python's own way."""
    sys.argv = ["meshibot", *arguments]
    status = 0
    try:
        runpy.run_module("meshibot", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        status = end.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Import, and serve until the test's side is closed."""
    gc.disable()
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # to look for garbage here would have every command copy all of it
    arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        gc.enable()
        _run(arguments)


if __name__ == "__main__":
    main()
