"""What the fakes of all networks share: HTTP, faults at will and at random, and a ledger that only grows.

    python -m testbed.fakes.mastodon --port 0 --ledger FILE

prints its port. A network is a subclass of `Network`: its endpoints, what each does, and the shape of its
errors. It shares no code with the publisher that it tests.

A fault is set with `POST /_control/fault {"endpoint", "fault", "times", ...}`: one of FAULTS, or one of the
network's own. With `POST /_control/chaos {"share", "seed", "faults"}` a share of all requests goes wrong, by
faults drawn from those of its endpoint.
"""

import argparse
import email.parser
import email.policy
import json
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

FAULTS = (
    "drop",  # close without an answer, nothing done
    "reset",  # reset without an answer, nothing done
    "hang",  # never answer, nothing done
    "drip",  # a byte of the answer at a time, nothing done
    "status",  # answer `status` (500) with `body`, nothing done
    "html",  # answer `status` (502) with a page for people, nothing done
    "redirect",  # 302 to elsewhere, nothing done
    "rate_limited",  # 429 with `headers` (the network's own where none are given), nothing done
    "commit_then_drop",
    "commit_then_reset",
    "commit_then_hang",
    "commit_then_drip",
    "commit_then_status",  # answer `status` (503) though it was done
    "commit_then_html",  # the same with a proxy's page (502)
    "garbage",  # done, 2xx, and a body that is not JSON
    "list",  # done, 2xx, and a JSON list
    "empty",  # done, 2xx, and no body
    "truncated",  # done, 2xx, and less of a body than announced
    "late",  # reads show nothing that was posted in the last `seconds`, or since the fault was set
    "wrong_clock",  # done, and the Date of the answer is `seconds` off
)
JPEG_OR_SO = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Refused(Exception):  # noqa: N818
    """An answer that is an error, and why."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Call:
    """One request, understood."""

    endpoint: str
    fault: Mapping[str, Any]
    method: str
    path: str
    name: str
    """What the path names, such as a post's id."""
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The fault's name, empty where there is none."""
        return str(self.fault.get("fault", ""))

    def asked(self, name: str, otherwise: str = "") -> str:
        """A value of the query."""
        return dict(self.query).get(name, otherwise)

    def json(self) -> dict[str, Any]:
        """The body; Refused where it is no JSON object, or not said to be."""
        if not self.headers.get("content-type", "").startswith("application/json"):
            raise Refused(400, {"error": "no JSON"})
        body = json.loads(self.body)
        if not isinstance(body, dict):
            raise Refused(400, {"error": "no object"})
        return body

    def form(self) -> dict[str, Any]:
        """The fields of a multipart form: text as str, files as (type, bytes)."""
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        message = parser.parsebytes(
            f"content-type: {self.headers.get('content-type', '')}\r\n\r\n".encode() + self.body
        )
        fields: dict[str, Any] = {}
        for part in message.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            data: Any = part.get_payload(decode=True)
            fields[name] = (part.get_content_type(), data) if part.get_filename() else data.decode()
        return fields


Answer = tuple[int, object]


@dataclass
class Network:
    """Everything that a fake knows, behind one lock, and its ledger."""

    options: Mapping[str, Any]
    """What a test said when it started the process, or emptied it: which version it plays …"""
    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    media: dict[str, dict[str, Any]] = field(default_factory=dict)

    endpoints: ClassVar[Mapping[tuple[str, str], str]]
    """From method and path to a name; the method of that name answers."""
    faults: ClassVar[Mapping[str, Refused]] = {}
    """The network's own refusals, by name."""
    others: ClassVar[tuple[str, ...]] = ()
    """Faults that the network's own methods know."""
    first_id: ClassVar[int] = 113_000_000_000_000_000
    redirects_by: ClassVar[int] = 302

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.begun_with = self.options
        self.reset(Path(self.options["ledger"]), {})

    def reset(self, ledger: Path, options: Mapping[str, Any]) -> None:
        """Start anew with `ledger`; what it holds already is taken as posted."""
        with self.lock:
            self.options = {**self.begun_with, **options}
            self.ledger = ledger
            self.posts, self.media = {}, {}
            self.set_faults: list[dict[str, Any]] = []
            self.chaos: tuple[float, random.Random, dict[str, list[dict[str, Any]]]] | None = None
            self.ahead = 0.0
            self.next_id = self.first_id
            self.forget()
            if ledger.exists():
                for line in ledger.read_text(encoding="utf-8").splitlines():
                    entry = json.loads(line)
                    if "id" in entry and str(entry["id"]).isdigit():
                        self.next_id = max(self.next_id, int(entry["id"]))
                    if entry["event"] == "post":
                        self.posts[entry["id"]] = entry
                    elif entry["event"] == "delete":
                        self.posts.pop(entry["id"], None)

    def forget(self) -> None:
        """What else a network forgets."""

    def control(self, verb: str, body: Mapping[str, Any]) -> Mapping[str, object]:
        """What else a test may tell it, and what it says to that."""
        return {}

    def check_answer(self, call: Call, answer: object) -> None:
        """Look whether the answer is one that the network gives."""

    def write(self, event: str, **fields: object) -> dict[str, Any]:
        """Append to the ledger; on disk when this returns."""
        entry = {"event": event, "at": self.now(), **fields}
        with self.lock, self.ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return entry

    def now(self) -> float:
        """The fake's own clock, which a test can set ahead."""
        return time.time() + self.ahead

    def new_id(self) -> str:
        """Ids that grow, and that are never used twice, also after a start with an old ledger."""
        with self.lock:
            self.next_id += 1
            return str(self.next_id)

    def fault_for(self, endpoint: str) -> dict[str, Any]:
        """The next fault that is due at an endpoint, used up by this; empty where there is none."""
        with self.lock:
            for fault in self.set_faults:
                if fault["endpoint"] == endpoint and fault["times"] > 0:
                    fault["times"] -= 1
                    return fault
            if self.chaos is None:
                return {}
            share, rng, faults = self.chaos
            choices = faults.get(endpoint)
            if not choices or rng.random() >= share:
                return {}
            drawn = rng.choice(choices)
            return drawn | {"since": self.now() - drawn.get("seconds", 0.0)}

    def seen(self, call: Call) -> list[dict[str, Any]]:
        """The posts that a read shows, newest first."""
        hidden = call.fault["since"] if call.kind == "late" else None
        with self.lock:
            return [post for post in reversed(self.posts.values()) if hidden is None or post["at"] < hidden]

    def liked(self, post_id: str) -> dict[str, int]:
        """How people answered to a post: as the test says, or as its id has it. The same on every network."""
        said: dict[str, dict[str, int]] = self.options.get("reactions", {})
        return said.get(post_id, {"likes": 5, "reposts": 2, "quotes": 1, "replies": 3})

    def error(self, status: int) -> object:
        """The body of an error that is nobody's fault."""
        return {"error": f"status {status}"}

    def nothing_there(self, method: str, path: str) -> object:
        """The body of a 404 where no endpoint is."""
        return b"<!DOCTYPE html><p>The page you were looking for doesn't exist.</p>"

    def rate_limit(self) -> dict[str, str]:
        """The headers of a 429, in the network's own form: a quarter of an hour."""
        return {}

    def always_told(self) -> dict[str, str]:
        """The headers of each answer in which a fault says nothing else."""
        return {}


class Handler(BaseHTTPRequestHandler):
    """One request: control, or the API with its faults around it."""

    protocol_version = "HTTP/1.1"
    server: "Serving"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
        """Silent: the ledger is the log."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        if parts.path.startswith("/_control/"):
            self.control(parts.path.removeprefix("/_control/"), json.loads(body or b"{}"))
            return
        network = self.server.network
        for (method, pattern), endpoint in network.endpoints.items():
            match = re.fullmatch(pattern, parts.path)
            if match and method == self.command:
                fault = network.fault_for(endpoint)
                name = next(iter(match.groups()), "")
                headers = {key.lower(): value for key, value in self.headers.items()}
                query = parse_qsl(parts.query, keep_blank_values=True)
                self.api(Call(endpoint, fault, method, parts.path, name, query, headers, body))
                return
        network.write("refused", endpoint=self.path, status=404)
        self.reply(404, network.nothing_there(self.command, parts.path))

    def control(self, verb: str, body: dict[str, Any]) -> None:
        network = self.server.network
        with network.lock:
            if verb == "fault":
                known = (*FAULTS, *network.faults, *network.others)
                if body["fault"] not in known or body["endpoint"] not in network.endpoints.values():
                    self.reply(400, {"detail": f"There is no fault {body}."})
                    return
                network.set_faults.append({"times": 1, "since": network.now(), **body})
            elif verb == "reset":
                network.reset(Path(body["ledger"]), body["options"])
            elif verb == "chaos":
                network.chaos = (body["share"], random.Random(body["seed"]), body["faults"])
            elif verb == "advance":
                network.ahead += body["seconds"]
            said = network.control(verb, body)
        self.reply(200, said)

    def api(self, call: Call) -> None:
        """Fault before, the deed, fault after."""
        network, kind = self.server.network, call.kind
        network.write("request", endpoint=call.endpoint, fault=kind or None, port=self.client_address[1])
        if kind in ("drop", "reset", "hang", "drip"):
            self.misbehave(kind, call.fault)
        elif kind == "status":
            status = call.fault.get("status", 500)
            self.reply(status, call.fault.get("body", network.error(status)))
        elif kind == "html":
            self.reply(call.fault.get("status", 502), PAGE)
        elif kind == "redirect":
            self.reply(call.fault.get("status", network.redirects_by), b"", {"location": "/elsewhere"})
        elif kind == "rate_limited":
            self.reply(429, network.error(429), call.fault.get("headers", network.rate_limit()))
        else:
            self.act(call)

    def act(self, call: Call) -> None:
        network = self.server.network
        deed: Callable[[Call], Answer] = getattr(network, call.endpoint)
        try:
            if call.kind in network.faults:
                raise network.faults[call.kind]
            status, answer = deed(call)
        except Refused as refusal:
            network.write("refused", endpoint=call.endpoint, status=refusal.status, body=str(refusal))
            self.reply(refusal.status, refusal.body)
            return
        network.check_answer(call, answer)
        self.after(call, status, answer)

    def after(self, call: Call, status: int, answer: object) -> None:
        kind, fault = call.kind, call.fault
        if kind == "commit_then_status":
            self.reply(fault.get("status", 503), self.server.network.error(503))
        elif kind == "commit_then_html":
            self.reply(502, PAGE)
        elif kind.startswith("commit_then_"):
            self.misbehave(kind.removeprefix("commit_then_"), fault)
        elif kind == "garbage":
            self.reply(status, b"<html>well made, and yet no JSON</html>")
        elif kind == "list":
            self.reply(status, [answer] if not isinstance(answer, list) else {"a": "list"})
        elif kind == "empty":
            self.reply(status, b"")
        elif kind == "truncated":
            self.reply(status, json.dumps(answer).encode()[:10], {"content-length": "500000"})
            self.close_connection = True
        elif kind == "wrong_clock":
            moment = formatdate(self.server.network.now() + fault.get("seconds", 0.0), usegmt=True)
            self.reply(status, answer, {"date": moment})
        else:
            extra = None
            if isinstance(answer, tuple):
                answer, extra = answer
            self.reply(status, answer, extra)

    def reply(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        kind = "text/html" if isinstance(body, bytes) else "application/json; charset=utf-8"
        sent = {
            "date": formatdate(self.server.network.now(), usegmt=True),
            "content-type": kind,
            "content-length": str(len(data)),
        } | (self.server.network.always_told() if headers is None else dict(headers))
        try:
            self.send_response_only(status)
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if status == 204 else data)
        except OSError:
            self.close_connection = True

    def misbehave(self, kind: str, fault: Mapping[str, Any]) -> None:
        """End a request without a whole answer."""
        self.close_connection = True
        if kind == "reset":
            # Lingering for no time turns the close into a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif kind == "hang":
            time.sleep(fault.get("seconds", 60))
        elif kind == "drip":
            self.drip(fault.get("seconds", 60), fault.get("part", "headers"))

    def drip(self, seconds: float, part: str) -> None:
        """A byte every tenth of a second: each read succeeds in time, the whole never does."""
        until = time.monotonic() + seconds
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n"
        try:
            if part == "body":
                self.wfile.write(head + b"\r\n")
                head = b"{"
            for byte in head + b" " * 5000:
                if time.monotonic() > until:
                    return
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            return


class Serving(ThreadingHTTPServer):
    """The HTTP server; its threads don't keep the process."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, network: Network) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.network = network


def serve(kind: type[Network]) -> None:
    """Serve until killed; `--options` is what the network should know, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--options", type=json.loads, default={})
    said = parser.parse_args()
    server = Serving(said.port, kind({**said.options, "ledger": said.ledger}))
    print(server.server_address[1], flush=True)
    server.serve_forever(poll_interval=0.05)
