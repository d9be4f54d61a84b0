"""A fake Misskey server. Nothing keeps it from making the same note twice, unless it plays misskey.io's fork.

Options: `fork` (a repeat of the same parameters is answered 202 with PROCESSING, for half a minute),
`capacity` of the drive in bytes, `max_text`, `bot`, `description`, `rules`, `suspended` and `max_file_mb`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from testbed.fakes import gif
from testbed.fakes.serving import JPEG_OR_SO, Answer, Call, Network, Refused, serve

TOKEN = "misskey-token-planted-8c77e1"
USER = "9fakefakefake001"
NOTE_FIELDS = {"text", "fileIds", "visibility", "cw", "noExtractMentions", "noExtractHashtags", "localOnly"}


def wrong(status: int, code: str, message: str = "No.") -> Refused:
    return Refused(status, {"error": {"message": message, "code": code, "id": "0" * 8, "kind": "client"}})


class Misskey(Network):
    """One account on one server."""

    endpoints: ClassVar[Mapping[tuple[str, str], str]] = {
        ("GET", "/.well-known/nodeinfo"): "nodeinfo",
        ("GET", "/nodeinfo/2.0"): "software",
        ("POST", r"/api/miauth/([\w-]+)/check"): "miauth",
        ("POST", "/api/i"): "me",
        ("POST", "/api/meta"): "meta",
        ("POST", "/api/drive"): "drive",
        ("POST", "/api/drive/files/create"): "upload",
        ("POST", "/api/notes/create"): "note",
        ("POST", "/api/users/notes"): "timeline",
        ("POST", "/api/notes/show"): "show",
        ("POST", "/api/notes/delete"): "delete",
    }
    faults: ClassVar[Mapping[str, Refused]] = {
        "revoked": wrong(401, "AUTHENTICATION_FAILED", "Authentication failed. Please ensure your token"),
        "revoked_as_before": wrong(403, "AUTHENTICATION_FAILED", "Authentication failed."),
        "suspended": wrong(403, "YOUR_ACCOUNT_SUSPENDED", "Your account has been suspended."),
        "moved": wrong(403, "YOUR_ACCOUNT_MOVED", "You have moved your account."),
        "missing_scope": wrong(403, "PERMISSION_DENIED", "Your app does not have the necessary permissions"),
        "role": wrong(403, "ROLE_PERMISSION_DENIED", "You are not assigned to a required role."),
        "prohibited": wrong(400, "CONTAINS_PROHIBITED_WORDS", "Cannot post because it contains words."),
        "inappropriate": wrong(400, "INAPPROPRIATE", "Cannot upload the file because it is inappropriate."),
        "full": wrong(400, "NO_FREE_SPACE", "Cannot upload the file because you have no free space"),
        "file_gone": wrong(400, "NO_SUCH_FILE", "Some files are not found."),
        "too_large": wrong(413, "MAX_FILE_SIZE_EXCEEDED", "Cannot upload the file because it exceeds"),
        "wrong_type": wrong(400, "UNALLOWED_FILE_TYPE", "Cannot upload the file because it is of a type"),
        "not_misskey": Refused(404, b"<!DOCTYPE html><p>Nothing here</p>"),
        "processing": Refused(202, {"error": {"message": "…", "code": "PROCESSING", "id": "0" * 8}}),
    }

    def forget(self) -> None:
        self.lately: dict[str, float] = {}

    def miauth(self, call: Call) -> Answer:
        if self.options.get("allowed", True):
            return 200, {"ok": True, "token": TOKEN, "user": {"id": USER}}
        return 200, {"ok": False}

    def authorize(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            raise wrong(401, "AUTHENTICATION_FAILED", "Authentication failed.")

    def nodeinfo(self, call: Call) -> Answer:
        return 200, {"links": [{"rel": "2.0", "href": f"http://{call.headers['host']}/nodeinfo/2.0"}]}

    def software(self, call: Call) -> Answer:
        return 200, {"software": {"name": "misskey", "version": "2025.10.0"}}

    def me(self, call: Call) -> Answer:
        self.authorize(call)
        return 200, {
            "id": self.options.get("account", USER),
            "username": "meshibot",
            "isBot": self.options.get("bot", True),
            "isSuspended": self.options.get("suspended", False),
            "description": self.options.get("description", ""),
            "policies": {"maxFileSizeMb": self.options.get("max_file_mb", 30), "driveCapacityMb": 100},
        }

    def meta(self, call: Call) -> Answer:
        return 200, {
            "maxNoteTextLength": self.options.get("max_text", 3000),
            "serverRules": self.options.get("rules", []),
        }

    @property
    def usage(self) -> int:
        return sum(file["size"] for file in self.media.values())

    def drive(self, call: Call) -> Answer:
        self.authorize(call)
        return 200, {"capacity": self.options.get("capacity", 100_000_000), "usage": self.usage}

    def upload(self, call: Call) -> Answer:
        """The same bytes are the old file with its old words, unless they are forced in."""
        self.authorize(call)
        form = call.form()
        kind, data = form["file"]
        if len(form.get("comment", "")) > 512:
            raise wrong(400, "INVALID_PARAM", "comment is too long")
        if not data.startswith(gif.SIGNATURES if kind == "image/gif" else JPEG_OR_SO):
            raise wrong(400, "UNALLOWED_FILE_TYPE", "Cannot upload the file because it is of a type")
        if len(data) > float(self.options.get("max_file_mb", 30)) * 1024 * 1024:
            raise wrong(413, "MAX_FILE_SIZE_EXCEEDED", "Cannot upload the file because it exceeds")
        with self.lock:
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            old = next((file for file in self.media.values() if file["md5"] == digest), None)
            if old is not None and form.get("force") != "true":
                return 200, old
            if self.usage + len(data) > float(self.options.get("capacity", 100_000_000)):
                raise wrong(400, "NO_FREE_SPACE", "Cannot upload the file because you have no free space")
            file = {
                "id": self.new_id(),
                "md5": digest,
                "size": len(data),
                "comment": form.get("comment") or None,
                "isSensitive": form.get("isSensitive") == "true",
            }
            self.media[str(file["id"])] = file
            self.write("upload", id=file["id"], size=len(data), alt=file["comment"])
        return 200, file

    def note(self, call: Call) -> Answer:
        self.authorize(call)
        body = call.json()
        if extra := set(body) - NOTE_FIELDS:
            raise wrong(400, "INVALID_PARAM", f"unknown {extra}")
        if body["visibility"] not in ("public", "home", "followers") or not body.get("noExtractMentions"):
            raise wrong(400, "INVALID_PARAM", "visibility, or mentions that are extracted")
        if len(body["text"]) > int(self.options.get("max_text", 3000)):
            raise wrong(400, "MAX_LENGTH", "The text is too long")
        with self.lock:
            if any(file_id not in self.media for file_id in body["fileIds"]):
                raise wrong(400, "NO_SUCH_FILE", "Some files are not found.")
            same = json.dumps(body, sort_keys=True)
            if self.options.get("fork") and self.lately.get(same, 0.0) > self.now() - 30:
                raise self.faults["processing"]
            self.lately[same] = self.now()
            post = self.write("post", id=self.new_id(), **body)
            self.posts[post["id"]] = post
        return 200, {"createdNote": self.shown(post)}

    def shown(self, post: Mapping[str, Any]) -> dict[str, Any]:
        made = datetime.fromtimestamp(post["at"], UTC)
        return {
            "id": post["id"],
            "createdAt": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "text": post["text"],
            "visibility": post["visibility"],
            "fileIds": post["fileIds"],
        }

    def timeline(self, call: Call) -> Answer:
        self.authorize(call)
        body = call.json()
        if body.get("userId") != self.options.get("account", USER):
            raise wrong(400, "NO_SUCH_USER")
        if not 1 <= body.get("limit", 10) <= 100 or body.get("withRenotes") is not False:
            raise wrong(400, "INVALID_PARAM")
        until = body.get("untilId", "")
        if until and not re.fullmatch(r"\d+", until):
            raise wrong(400, "INVALID_PARAM")
        posts = [post for post in self.seen(call) if not until or int(post["id"]) < int(until)]
        return 200, [self.shown(post) for post in posts[: body.get("limit", 10)]]

    def show(self, call: Call) -> Answer:
        self.authorize(call)
        post = self.posts.get(call.json()["noteId"])
        if post is None:
            raise wrong(400, "NO_SUCH_NOTE", "No such note.")
        liked = self.liked(post["id"])
        return 200, self.shown(post) | {
            "reactions": {"🍜": liked["likes"] - 1, ":ramen@.:": 1},
            "renoteCount": liked["reposts"] + liked["quotes"],
            "repliesCount": liked["replies"],
        }

    def delete(self, call: Call) -> Answer:
        self.authorize(call)
        with self.lock:
            note_id = call.json()["noteId"]
            if self.posts.pop(note_id, None) is None:
                raise wrong(400, "NO_SUCH_NOTE", "No such note.")
            self.write("delete", id=note_id)
        return 204, {}

    def error(self, status: int) -> object:
        code = {429: "RATE_LIMIT_EXCEEDED"}.get(status, "INTERNAL_ERROR")
        return {"error": {"message": f"status {status}", "code": code, "id": "0" * 8, "kind": "server"}}

    def rate_limit(self) -> dict[str, str]:
        return {"retry-after": "900"}


if __name__ == "__main__":
    serve(Misskey)
