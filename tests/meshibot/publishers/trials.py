"""What the tests of each network share: a draft, and an outcome that is looked at."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from meshibot.publishers.base import Draft, Publisher, PublishError, Sent
from meshibot.publishers.text import facets
from meshibot.publishers.transport import Timeouts

QUICK = Timeouts(connect=2.0, answer=1.0, whole=4.0)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def a_draft(folder: Path, caption: str = "深夜の一杯\nNo.0042 (AI)", **how: object) -> Draft:
    """A post with a picture of 40×30."""
    file = folder / "bowl.jpg"
    Image.new("RGB", (40, 30), (200, 90, 10)).save(file)
    said: dict[str, object] = {
        "account": "main",
        "serial": 42,
        "marker": "No.0042",
        "caption": caption,
        "alt_text": "Generated; no real dish.",
        "media": (file,),
        "idempotency_key": "main-0042-20261124",
        "created_at": NOW,
        "slot": "main|2026-11-24T21:00",
        "language": "ja",
        "facets": facets(caption),
    }
    return Draft(**(said | how))  # type: ignore[arg-type]


def post(publisher: Publisher, draft: Draft) -> Sent:
    """Upload and send."""
    return publisher.send(draft, publisher.upload(draft))


def outcome(call: Callable[[], object], kind: type[PublishError]) -> str:
    """The sentence of exactly this outcome."""
    with pytest.raises(PublishError) as caught:
        call()
    assert type(caught.value) is kind, repr(caught.value)
    said = str(caught.value)
    assert said.endswith((".", ")")), said
    assert "\n" not in said
    assert "planted" not in said, "no secret is told"
    return said


@contextmanager
def without_tls() -> Iterator[str]:
    """An https:// address at which nobody speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
