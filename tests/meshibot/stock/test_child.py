"""How a child of the stock fails: in one sentence, the last line of standard error."""

import io
import sys

import pytest

from meshibot.errors import NothingToDo
from meshibot.stock.child import answer


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a request"))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its own


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (NothingToDo("No picture\npassed."), 3, "No picture passed.\n"),
        (MemoryError(), 1, "Memory ran out here.\n"),
        # as the loader says it where the address space has no room for torch
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            1,
            "Memory ran out here.\n",
        ),
    ],
)
def test_a_failure_is_a_sentence(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, says: str
) -> None:
    def fail(request: str) -> None:
        assert request == "a request"
        raise error

    assert answer(fail, "Memory ran out here.") == status
    assert capsys.readouterr().err == says


def test_a_fault_of_ours_is_not_hidden() -> None:
    def fail(_: str) -> None:
        raise ImportError("No module named 'nothing'")

    with pytest.raises(ImportError, match="nothing"):
        answer(fail, "Memory ran out here.")
