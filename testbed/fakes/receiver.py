"""Whoever is told something: a process that writes down what it is sent, and answers as a file says.

    python -m testbed.fakes.receiver FOLDER

prints its port. `FOLDER/requests.jsonl` has a line for each request; `FOLDER/status`, where it is there, the
status that is answered (`hang`: none).
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Any path, any method."""

    folder: Path

    def do_POST(self) -> None:
        """Write it down, then answer."""
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        status = self.folder / "status"
        said = status.read_text() if status.exists() else "200"
        line = {"path": self.path, "headers": dict(self.headers), "body": body, "answer": said}
        with (self.folder / "requests.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if said == "hang":
            time.sleep(60)
        self.send_response(int(said))
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 (the base class's names)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
