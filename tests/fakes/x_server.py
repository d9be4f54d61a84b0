"""A fake X: API v2 over HTTP in a process of its own, with an append-only ledger and programmable faults.

    python -m tests.fakes.x_server --port 0 --ledger FILE

prints its port. It shares no code with the publisher that it tests: signatures (RFC 5849), weighted length
and limits are done anew here. Bodies are checked against X's OpenAPI document where that is at hand
(MESHIBOT_X_OPENAPI, or ../shared/reference/x-openapi-subset.json beside the checkout).

A fault is set with `POST /_control/fault {"endpoint", "fault", "times", ...}`; see FAULTS. With
`POST /_control/chaos {"share", "seed", "faults"}` a share of all requests goes wrong, by faults drawn from
those of its endpoint; the fake then takes the same text twice, so that nothing but the bot prevents it.
"""

import argparse
import base64
import email.parser
import email.policy
import hashlib
import hmac
import json
import os
import random
import re
import socket
import struct
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tests.fakes import gif

OFFICIAL = "https://api.twitter.com"
USER_ID = "1700000000000000001"
USERNAME = "meshibot_fake"
MAX_IMAGE_BYTES = 5 * 1024 * 1024
MAX_GIF_BYTES = 15 * 1024 * 1024
MAX_PART_BYTES = 5 * 1024 * 1024
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8")

ENDPOINTS = {
    ("POST", r"/2/tweets"): "tweets",
    ("GET", r"/2/tweets"): "lookup",
    ("DELETE", r"/2/tweets/(?P<id>\d+)"): "delete",
    ("POST", r"/2/media/upload"): "upload",
    ("GET", r"/2/media/upload"): "state",
    ("POST", r"/2/media/upload/initialize"): "begin",
    ("POST", r"/2/media/upload/(?P<id>\d+)/append"): "append",
    ("POST", r"/2/media/upload/(?P<id>\d+)/finalize"): "finish",
    ("POST", r"/2/media/metadata"): "metadata",
    ("GET", r"/2/users/me"): "me",
    ("POST", r"/oauth/request_token"): "request_token",
    ("POST", r"/oauth/access_token"): "access_token",
    ("GET", r"/2/users/(?P<id>\d+)/tweets"): "timeline",
}

FAULTS = (
    "drop",  # close without an answer, nothing done
    "reset",  # reset without an answer, nothing done
    "hang",  # never answer, nothing done
    "drip",  # a byte of the answer at a time, nothing done
    "status",  # answer `status` (500) with `body`, nothing done
    "commit_then_drop",
    "commit_then_reset",
    "commit_then_hang",
    "commit_then_drip",
    "commit_then_status",  # answer `status` (503) though it was done
    "garbage",  # done, 2xx, and a body that is not JSON
    "list",  # done, 2xx, and a JSON list
    "empty",  # done, 2xx, and no body
    "truncated",  # done, 2xx, and less of a body than announced
    "late",  # the timeline shows nothing that was posted after the fault was set
    "no_credits",
    "revoked",
    "suspended",
    "locked",
    "missing_scope",
    "duplicate",
    "rate_limited",  # 429; `headers` gives its headers, none without
    "list_error",  # 400 with a JSON list for a body
    "redirect",
)

PROBLEMS: dict[str, tuple[int, object]] = {
    "no_credits": (
        402,
        {
            "account_id": int(USER_ID),
            "title": "CreditsDepleted",
            "detail": "Your enrolled account does not have any credits to fulfill this request.",
            "type": "https://api.twitter.com/2/problems/credits",
        },
    ),
    "revoked": (
        401,
        {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"},
    ),
    "suspended": (
        403,
        {
            "title": "Forbidden",
            "status": 403,
            "type": "about:blank",
            "detail": "Your account is suspended and is not permitted to access this feature.",
        },
    ),
    "locked": (
        403,
        {"errors": [{"code": 326, "message": "To protect our users, this account is temporarily locked."}]},
    ),
    "missing_scope": (
        403,
        {
            "title": "Forbidden",
            "type": "https://api.twitter.com/2/problems/oauth1-permissions",
            "status": 403,
            "detail": "Your client app is not configured with the appropriate oauth1 app permissions for "
            "this endpoint.",
        },
    ),
    "duplicate": (
        403,
        {
            "detail": "You are not allowed to create a Tweet with duplicate content.",
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
        },
    ),
    "list_error": (400, [{"code": 214, "message": "Bad request in a list."}]),
}


class Refused(Exception):  # noqa: N818
    """An answer that is an error, and why."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def invalid(detail: str, status: int = 400) -> Refused:
    """A refusal as X words it: a general detail outside, the real one in `errors`."""
    return Refused(
        status,
        {
            "errors": [{"message": detail}],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": "https://api.twitter.com/2/problems/invalid-request",
        },
    )


@dataclass(frozen=True)
class Chaos:
    """Faults at random: `faults` has those that may happen at each endpoint, with their options."""

    share: float
    rng: random.Random
    faults: dict[str, list[dict[str, Any]]]

    def draw(self, endpoint: str, now: float) -> dict[str, Any] | None:
        """The fault of a request, or None. A `late` timeline is so many `seconds` behind."""
        choices = self.faults.get(endpoint)
        if not choices or self.rng.random() >= self.share:
            return None
        fault = self.rng.choice(choices)
        return fault | {"since": now - fault.get("seconds", 0.0)}


Signed = tuple[str, str, str, str, list[tuple[str, str]]]
"""Method, path, query, the header of the signature, and the form of a request."""


class X:
    """Everything the fake knows, behind one lock, and its ledger."""

    def __init__(self, ledger: Path, secrets: dict[str, str]) -> None:
        self.user_id = USER_ID
        self.lock = threading.RLock()
        self.secrets = secrets
        self.schemas = Schemas.at_hand()
        self.reset(ledger)

    def reset(self, ledger: Path) -> None:
        """Start anew with `ledger`; what it holds already is taken as posted."""
        with self.lock:
            self.ledger = ledger
            self.posts: dict[str, dict[str, Any]] = {}
            self.media: dict[str, dict[str, Any]] = {}
            self.parts: dict[str, dict[str, Any]] = {}
            self.nonces: set[str] = set()
            self.asked_for: set[str] = set()
            """Request tokens of the PIN flow."""
            self.faults: list[dict[str, Any]] = []
            self.chaos: Chaos | None = None
            self.ahead = 0.0
            self.window = {"limit": 100, "remaining": 100}
            self.works = {"for": 0, "fails": False}
            """How often a GIF is answered with 'in progress', and how that ends."""
            self.next_id = 1_990_000_000_000_000_000
            if ledger.exists():
                for line in ledger.read_text(encoding="utf-8").splitlines():
                    self.replay(json.loads(line))

    def replay(self, entry: dict[str, Any]) -> None:
        """Take up an entry of an earlier process."""
        if entry["event"] == "post":
            self.posts[entry["id"]] = {
                "text": entry["text"],
                "at": entry["at"],
                "media_ids": entry["media_ids"],
            }
            self.next_id = max(self.next_id, int(entry["id"]))
        elif entry["event"] == "delete":
            self.posts.pop(entry["id"], None)

    def write(self, event: str, **fields: object) -> None:
        """Append to the ledger; on disk when this returns."""
        with self.lock, self.ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "at": self.now(), **fields}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def now(self) -> float:
        """The fake's own clock, which a test can set ahead."""
        return time.time() + self.ahead

    def new_id(self) -> str:
        self.next_id += 1
        return str(self.next_id)

    def fault_for(self, endpoint: str) -> dict[str, Any] | None:
        """The next fault that is due at an endpoint, used up by this."""
        with self.lock:
            for fault in self.faults:
                if fault["endpoint"] == endpoint and fault["times"] > 0:
                    fault["times"] -= 1
                    return fault
            return self.chaos.draw(endpoint, self.now()) if self.chaos else None

    def authenticate(
        self,
        method: str,
        path: str,
        query: str,
        header: str,
        form: list[tuple[str, str]],
        token: tuple[str, str] | None = None,
    ) -> dict[str, str]:
        """Check an OAuth 1.0a HMAC-SHA1 signature by RFC 5849, section 3.4; the header's own parameters.

        `token` is what it has to be signed with beside the app's, where that is not the account's.
        """
        token = token or (self.secrets["access_token"], self.secrets["access_token_secret"])
        if not header.startswith("OAuth "):
            raise Refused(*PROBLEMS["revoked"])
        given = {
            unquote(name.strip()): unquote(value.strip().strip('"'))
            for name, _, value in (part.partition("=") for part in header[6:].split(","))
        }
        signature = given.pop("oauth_signature", "")
        given.pop("realm", None)
        pairs = [*given.items(), *parse_qsl(query, keep_blank_values=True), *form]
        encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs)
        parameters = "&".join(f"{name}={value}" for name, value in encoded)
        base = "&".join(quote(part, safe="~") for part in (method, OFFICIAL + path, parameters))
        key = "&".join(quote(secret, safe="~") for secret in (self.secrets["consumer_secret"], token[1]))
        expected = base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()).decode()
        with self.lock:
            fresh = given.get("oauth_nonce", "") not in self.nonces
            self.nonces.add(given.get("oauth_nonce", ""))
        right = (
            hmac.compare_digest(signature, expected)
            and given.get("oauth_consumer_key") == self.secrets["consumer_key"]
            and given.get("oauth_token", "") == token[0]
            and given.get("oauth_signature_method") == "HMAC-SHA1"
            and abs(int(given.get("oauth_timestamp", "0")) - time.time()) < 300
            and fresh
        )
        if not right:
            raise Refused(
                401, {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"}
            )
        return given

    def request_token(self, request: Signed) -> tuple[int, object]:
        """For an app alone; its callback has to be out of band. The PIN is the token's digits backwards."""
        given = self.authenticate(*request, token=("", ""))
        if given.get("oauth_callback") != "oob":
            raise Refused(403, {"errors": [{"code": 415, "message": "Callback URL not approved."}]})
        with self.lock:
            token = f"request-{self.new_id()}"
            self.asked_for.add(token)
        fields = {"oauth_token": token, "oauth_token_secret": "request-secret-planted"}
        return 200, urlencode({**fields, "oauth_callback_confirmed": "true"}).encode()

    def access_token(self, request: Signed) -> tuple[int, object]:
        """For the PIN of a request token, once."""
        token = re.search('oauth_token="([^"]*)"', request[3])
        if token is None or token[1] not in self.asked_for:
            raise Refused(401, {"errors": [{"code": 89, "message": "Invalid request token."}]})
        given = self.authenticate(*request, token=(token[1], "request-secret-planted"))
        if given.get("oauth_verifier") != token[1][:-8:-1]:
            raise Refused(401, {"errors": [{"message": "Invalid oauth_verifier parameter"}]})
        with self.lock:
            self.asked_for.discard(token[1])
        names = {"oauth_token": "access_token", "oauth_token_secret": "access_token_secret"}
        fields = {name: self.secrets[secret] for name, secret in names.items()}
        return 200, urlencode({**fields, "user_id": self.user_id, "screen_name": USERNAME}).encode()

    def upload(self, fields: dict[str, Any]) -> tuple[int, object]:
        data = fields["media"]
        if len(data) > MAX_IMAGE_BYTES:
            raise Refused(
                413, {"title": "Payload Too Large", "detail": "The media is larger than 5 MB.", "status": 413}
            )
        if fields.get("media_category") != "tweet_image":
            raise invalid("The media_category is missing or wrong.")
        if not data.startswith(MAGIC) or data.startswith(b"GIF8"):
            raise Refused(
                415, {"title": "Unsupported Media Type", "detail": "The media is no image.", "status": 415}
            )
        with self.lock:
            media_id = self.new_id()
            self.media[media_id] = {"until": self.now() + 86_400, "size": len(data)}
            self.write("upload", id=media_id, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        return 200, {
            "data": {
                "id": media_id,
                "media_key": f"3_{media_id}",
                "size": len(data),
                "expires_after_secs": 86_400,
            }
        }

    def begin(self, body: dict[str, Any]) -> tuple[int, object]:
        """A GIF in parts: nothing else is taken so here."""
        if body.get("media_category") != "tweet_gif" or body.get("media_type") != "image/gif":
            raise invalid("The media_category or the media_type is wrong.")
        if not 0 < body.get("total_bytes", 0) <= MAX_GIF_BYTES:
            raise invalid("File size exceeds 15728640 bytes.")
        with self.lock:
            media_id = self.new_id()
            self.parts[media_id] = {"size": body["total_bytes"], "data": b"", "next": 0}
        return 202, {"data": {"id": media_id, "media_key": f"16_{media_id}", "expires_after_secs": 86_399}}

    def append(self, media_id: str, fields: dict[str, Any]) -> tuple[int, object]:
        """The parts come in their order, each once."""
        with self.lock:
            begun = self.parts.get(media_id)
            if begun is None or int(fields["segment_index"]) != begun["next"]:
                raise invalid("The segment_index is not the next one.")
            if len(fields["media"]) > MAX_PART_BYTES:
                raise Refused(413, {"title": "Payload Too Large", "detail": "Over 5 MB.", "status": 413})
            begun["data"] += fields["media"]
            begun["next"] += 1
        return 200, {"data": {"expires_at": int(self.now()) + 86_399}}

    def finish(self, media_id: str) -> tuple[int, object]:
        with self.lock:
            begun = self.parts.pop(media_id, None)
            if begun is None or len(begun["data"]) != begun["size"]:
                raise invalid("The upload is not complete.")
            try:
                width, height, frames = gif.shape_of(begun["data"])
            except (ValueError, IndexError, struct.error):
                raise invalid("The media is no GIF.") from None
            if width > 1280 or height > 1080 or frames > 350:
                raise invalid(f"A GIF of {width} by {height} pixels and {frames} frames is too large.")
            self.media[media_id] = {
                "until": self.now() + 86_400,
                "size": begun["size"],
                "works": self.works["for"],
                "fails": self.works["fails"],
            }
            self.write("upload", id=media_id, size=begun["size"], frames=frames)
        return 200, {"data": self.stated(media_id)}

    def state(self, query: dict[str, str]) -> tuple[int, object]:
        """How far it is with a GIF; each look takes it further."""
        media_id = query.get("media_id", "")
        if query.get("command") != "STATUS" or "works" not in self.media.get(media_id, {}):
            raise invalid("The media id is unknown.")
        with self.lock:
            self.media[media_id]["works"] = max(0, self.media[media_id]["works"] - 1)
        return 200, {"data": self.stated(media_id)}

    def stated(self, media_id: str) -> dict[str, Any]:
        media = self.media[media_id]
        said = {"id": media_id, "media_key": f"16_{media_id}", "size": media["size"]}
        done = "failed" if media["fails"] else "succeeded"
        info = {"state": "in_progress", "check_after_secs": 1} if media["works"] else {"state": done}
        return said | {"expires_after_secs": 86_400, "processing_info": info}

    def describe(self, body: dict[str, Any]) -> tuple[int, object]:
        text = body.get("metadata", {}).get("alt_text", {}).get("text", "")
        if len(text) > 1_000:
            raise invalid("The alt text is longer than 1,000 characters.")
        if body["id"] not in self.media:
            raise invalid("The media id is unknown.")
        with self.lock:
            self.write("metadata", id=body["id"], alt_text=text)
        return 200, {"data": {"id": body["id"], "associated_metadata": body["metadata"]}}

    def post(self, body: dict[str, Any]) -> tuple[int, object]:
        text = body.get("text", "")
        media_ids = body.get("media", {}).get("media_ids", [])
        with self.lock:
            if weight(text) > 280:
                raise Refused(
                    403, {"title": "Forbidden", "detail": "Your Tweet text is too long.", "status": 403}
                )
            for media_id in media_ids:
                if media_id not in self.media or self.media[media_id]["until"] <= self.now():
                    raise invalid("Your media IDs are invalid.")
                if self.media[media_id].get("works") or self.media[media_id].get("fails"):
                    raise invalid("The media is not ready to be attached.")
            if len(media_ids) > 1 and any("works" in self.media[media_id] for media_id in media_ids):
                raise invalid("A GIF can't share a post with other media.")
            if self.chaos is None and any(post["text"] == text for post in self.posts.values()):
                raise Refused(*PROBLEMS["duplicate"])
            post_id = self.new_id()
            self.posts[post_id] = {"text": text, "at": self.now(), "media_ids": media_ids}
            self.write(
                "post",
                id=post_id,
                text=text,
                media_ids=media_ids,
                made_with_ai=body.get("made_with_ai", False),
            )
        return 201, {"data": {"id": post_id, "text": text, "edit_history_post_ids": [post_id]}}

    def delete(self, post_id: str) -> tuple[int, object]:
        with self.lock:
            if self.posts.pop(post_id, None) is None:
                raise Refused(
                    404,
                    {
                        "title": "Not Found Error",
                        "detail": f"Could not find tweet with id: [{post_id}].",
                        "type": "https://api.twitter.com/2/problems/resource-not-found",
                    },
                )
            self.write("delete", id=post_id)
        return 200, {"data": {"deleted": True}}

    def timeline(self, user_id: str, query: dict[str, str], hidden_since: float | None) -> tuple[int, object]:
        """Newest first, in pages, from `start_time` on."""
        if user_id != self.user_id:
            raise Refused(404, {"title": "Not Found Error", "detail": "Could not find user.", "status": 404})
        size = int(query.get("max_results", "10"))
        if not 5 <= size <= 100:
            raise invalid(f"The `max_results` query parameter value [{size}] is not between 5 and 100.")
        start = 0.0
        fields = query.get("tweet.fields", "").split(",")
        left_out = query.get("exclude", "").split(",")
        if "start_time" in query:
            start = (
                datetime.strptime(query["start_time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
            )
        with self.lock:
            seen = [
                {
                    "id": post_id,
                    "text": f"{post['text']} https://t.co/{post_id[-10:]}",
                    "edit_history_post_ids": [post_id],
                    **({"created_at": _iso(post["at"])} if "created_at" in fields else {}),
                }
                for post_id, post in sorted(self.posts.items(), reverse=True)
                if not (post.get("repost") and "retweets" in left_out)
                and post["at"] >= start
                and (hidden_since is None or post["at"] < hidden_since)
            ]
        offset = int(query.get("pagination_token", "0"))
        page = seen[offset : offset + size]
        meta: dict[str, object] = {"result_count": len(page)}
        if offset + size < len(seen):
            meta["next_token"] = str(offset + size)
        return 200, {"data": page, "meta": meta} if page else {"meta": meta}

    def lookup(self, query: dict[str, str]) -> tuple[int, object]:
        """Posts by their ids; of those that are gone, an error each in an answer of 200."""
        ids = query.get("ids", "").split(",")
        if not 1 <= len(ids) <= 100 or not all(each.isdigit() for each in ids):
            raise invalid("The `ids` query parameter value is not valid.")
        metrics = {
            "like_count": 5,
            "repost_count": 2,
            "quote_count": 1,
            "reply_count": 3,
            "impression_count": 120,
            "bookmark_count": 0,
        }
        shown = {"public_metrics": metrics} if "public_metrics" in query.get("post.fields", "") else {}
        with self.lock:
            found = [
                {"id": each, "text": self.posts[each]["text"], **shown} for each in ids if each in self.posts
            ]
        errors = [
            {
                "resource_id": each,
                "resource_type": "tweet",
                "title": "Not Found Error",
                "type": "https://api.twitter.com/2/problems/resource-not-found",
            }
            for each in ids
            if each not in self.posts
        ]
        return 200, ({"data": found} if found else {}) | ({"errors": errors} if errors else {})


class Schemas:
    """X's OpenAPI document, for bodies both ways."""

    REQUESTS: ClassVar = {
        "tweets": "CreatePostsRequest",
        "metadata": "CreateMediaMetadataRequest",
        "upload": "MediaUploadRequest",
        "begin": "InitializeMediaUploadRequest",
    }
    RESPONSES: ClassVar = {
        "tweets": "CreatePostsResponse",
        "metadata": "CreateMediaMetadataResponse",
        "upload": "MediaUploadResponse",
        "begin": "InitializeMediaUploadResponse",
        "append": "AppendMediaUploadResponse",
        "finish": "FinalizeMediaUploadResponse",
        "state": "GetMediaUploadStatusResponse",
        "me": "GetUsersMeResponse",
        "timeline": "GetUsersPostsResponse",
        "lookup": "GetPostsByIdsResponse",
        "delete": "DeletePostsResponse",
    }

    def __init__(self, document: dict[str, Any]) -> None:
        from jsonschema import Draft4Validator  # OpenAPI 3.0 speaks a dialect of it

        self._validators = {
            name: Draft4Validator(
                {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            )
            for name in {*self.REQUESTS.values(), *self.RESPONSES.values()}
        }

    @classmethod
    def at_hand(cls) -> "Schemas | None":
        """From the file, or None where there is none."""
        path = openapi_document()
        return cls(json.loads(path.read_text(encoding="utf-8"))) if path else None

    def check(self, name: str, body: object) -> str | None:
        """What is wrong with a body, or None."""
        for error in self._validators[name].iter_errors(body):
            return f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message[:200]}"
        return None


def openapi_document() -> Path | None:
    """Where X's OpenAPI document lies on this machine, if it does."""
    named = os.environ.get("MESHIBOT_X_OPENAPI")
    beside = Path(__file__).resolve().parents[3] / "shared" / "reference" / "x-openapi-subset.json"
    return next((path for path in ([Path(named)] if named else [beside]) if path.is_file()), None)


def weight(text: str) -> int:
    """X's length of a text, by the code point ranges of twitter-text v3; emoji sequences count in full."""
    text, links = re.subn(r"https?://\S+", "", unicodedata.normalize("NFC", text))
    light = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
    return 23 * links + sum(1 if any(a <= ord(c) <= b for a, b in light) else 2 for c in text)


class Handler(BaseHTTPRequestHandler):
    """One request: control, or the API with its faults around it."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Silent: the ledger is the log."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        if path.startswith("/_control/"):
            self.control(path.removeprefix("/_control/"), json.loads(body or b"{}"))
            return
        for (method, pattern), endpoint in ENDPOINTS.items():
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                self.api(endpoint, match.groupdict().get("id", ""), body)
                return
        self.reply(
            404, {"title": "Not Found", "detail": f"There is no {self.command} {path}.", "status": 404}
        )

    def control(self, verb: str, body: dict[str, Any]) -> None:
        x = self.server.x
        with x.lock:
            if verb == "fault":
                if body["fault"] not in FAULTS or body["endpoint"] not in ENDPOINTS.values():
                    self.reply(400, {"detail": f"There is no fault {body}."})
                    return
                x.faults.append({"times": 1, "since": x.now(), **body})
            elif verb == "reset":
                x.reset(Path(body["ledger"]))
            elif verb == "chaos":
                x.chaos = Chaos(body["share"], random.Random(body["seed"]), body["faults"])
            elif verb == "advance":
                x.ahead += body["seconds"]
            elif verb == "repost":
                x.posts[f"{2 * 10**18 + len(x.posts)}"] = {
                    "text": body["text"], "at": x.now(), "media_ids": [], "repost": True
                }  # fmt: skip
            elif verb == "works":
                x.works = body
            elif verb == "window":
                x.window = {"limit": body["remaining"], "remaining": body["remaining"]}
        self.reply(200, {"schemas": x.schemas is not None})

    def api(self, endpoint: str, identifier: str, body: bytes) -> None:
        """Fault before, the deed, fault after."""
        x = self.server.x
        fault = x.fault_for(endpoint) or {"fault": ""}
        kind: str = fault["fault"]
        x.write("request", endpoint=endpoint, fault=kind or None, port=self.client_address[1])
        if kind in ("drop", "reset", "hang", "drip"):
            self.misbehave(kind, fault)
            return
        if kind == "status":
            self.reply(fault.get("status", 500), fault.get("body", {"title": "Internal Server Error"}))
            return
        if kind == "redirect":
            self.reply(307, {}, {"location": "/2/elsewhere"})
            return
        if kind == "rate_limited":
            self.reply(429, {"title": "Too Many Requests", "status": 429}, fault.get("headers", {}))
            return
        try:
            if kind in PROBLEMS:
                raise Refused(*PROBLEMS[kind])
            status, answer = self.act(endpoint, identifier, body, fault["since"] if kind == "late" else None)
        except Refused as refusal:
            x.write("refused", endpoint=endpoint, status=refusal.status, body=refusal.body)
            self.reply(refusal.status, refusal.body)
            return
        if (
            x.schemas
            and endpoint in Schemas.RESPONSES
            and (wrong := x.schemas.check(Schemas.RESPONSES[endpoint], answer))
        ):
            x.write("broken", endpoint=endpoint, wrong=wrong)
        self.after(kind, fault, status, answer)

    def after(self, kind: str, fault: dict[str, Any], status: int, answer: object) -> None:
        if kind.startswith("commit_then_") and kind != "commit_then_status":
            self.misbehave(kind.removeprefix("commit_then_"), fault)
        elif kind == "commit_then_status":
            self.reply(fault.get("status", 503), {"title": "Service Unavailable"})
        elif kind == "garbage":
            self.reply(status, b"<html>201, and yet no JSON</html>")
        elif kind == "list":
            self.reply(status, [answer])
        elif kind == "empty":
            self.reply(status, b"")
        elif kind == "truncated":
            self.reply(status, json.dumps(answer).encode()[:10], {"content-length": "500"})
            self.close_connection = True
        else:
            self.reply(status, answer)

    def act(
        self, endpoint: str, identifier: str, body: bytes, hidden_since: float | None
    ) -> tuple[int, object]:
        """Check what was sent and do it."""
        x = self.server.x
        parts = urlsplit(self.path)
        content_type = self.headers.get("content-type", "")
        form = (
            parse_qsl(body.decode()) if content_type.startswith("application/x-www-form-urlencoded") else []
        )
        request = (self.command, parts.path, parts.query, self.headers.get("authorization", ""), form)
        if endpoint == "request_token":
            return x.request_token(request)
        if endpoint == "access_token":
            return x.access_token(request)
        x.authenticate(*request)
        self.spend()
        sent: dict[str, Any] = {}
        if self.command == "POST" and endpoint != "finish":
            sent = (
                multipart(content_type, body) if content_type.startswith("multipart/") else json.loads(body)
            )
            self.check_body(endpoint, sent)
        if endpoint == "upload" and isinstance(sent["media"], str):
            sent["media"] = base64.b64decode(sent["media"])
        query = dict(parse_qsl(parts.query))
        acts = {
            "tweets": lambda: x.post(sent),
            "delete": lambda: x.delete(identifier),
            "upload": lambda: x.upload(sent),
            "begin": lambda: x.begin(sent),
            "append": lambda: x.append(identifier, sent),
            "finish": lambda: x.finish(identifier),
            "state": lambda: x.state(query),
            "metadata": lambda: x.describe(sent),
            "me": lambda: (200, {"data": {"id": x.user_id, "name": "飯bot", "username": USERNAME}}),
            "timeline": lambda: x.timeline(identifier, query, hidden_since),
            "lookup": lambda: x.lookup(query),
        }
        deed: Callable[[], tuple[int, object]] = acts[endpoint]
        return deed()

    def check_body(self, endpoint: str, sent: dict[str, Any]) -> None:
        x = self.server.x
        if x.schemas is None or endpoint not in Schemas.REQUESTS:
            return
        plain = {name: "" if isinstance(value, bytes) else value for name, value in sent.items()}
        if wrong := x.schemas.check(Schemas.REQUESTS[endpoint], plain):
            raise invalid(wrong)

    def spend(self) -> None:
        """Count against the window, and refuse where it is used up."""
        x = self.server.x
        with x.lock:
            if x.window["remaining"] <= 0:
                raise Refused(
                    429, {"title": "Too Many Requests", "detail": "Too Many Requests", "status": 429}
                )
            x.window["remaining"] -= 1

    def reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        x = self.server.x
        sent = {"content-type": "application/json", "content-length": str(len(data))}
        if status != 429 or headers is None:
            sent |= {
                "x-rate-limit-limit": str(x.window["limit"]),
                "x-rate-limit-remaining": str(x.window["remaining"]),
                "x-rate-limit-reset": str(int(x.now()) + 900),
                "x-user-limit-24hour-remaining": "90",
                "x-user-limit-24hour-reset": str(int(x.now()) + 86_400),
            }
        try:
            self.send_response_only(status)
            self.send_header("date", formatdate(x.now(), usegmt=True))
            for name, value in (sent | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def misbehave(self, kind: str, fault: dict[str, Any]) -> None:
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
        head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n"
        until = time.monotonic() + seconds
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


def _iso(moment: float) -> str:
    """A moment as X writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def multipart(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a multipart form: text as str, files as bytes."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    fields: dict[str, Any] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data: Any = part.get_payload(decode=True)
        fields[str(name)] = data if part.get_filename() else data.decode()
    return fields


class Server(ThreadingHTTPServer):
    """The HTTP server; its threads don't keep the process."""

    daemon_threads = True

    def __init__(self, port: int, x: X) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.x = x


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--user-id", default=USER_ID)
    for name in ("consumer-key", "consumer-secret", "access-token", "access-token-secret"):
        parser.add_argument(f"--{name}", default=f"fake-{name}")
    options = parser.parse_args()
    names = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    x = X(options.ledger, {name: getattr(options, name) for name in names})
    x.user_id = options.user_id
    server = Server(options.port, x)
    print(server.server_address[1], flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
