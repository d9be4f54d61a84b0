"""A fake X: API v2, strict about signatures and bodies.

It shares no code with the publisher that it tests: signatures (RFC 5849), weighted length and limits are done
anew here. Bodies are checked against X's OpenAPI document where MESHIBOT_X_OPENAPI names it. While a share of
all requests goes wrong it takes the same text twice, so that nothing but the bot prevents it.

Options: the four secrets `consumer_key`, `consumer_secret`, `access_token` and `access_token_secret`, and
`user_id`.
"""

import base64
import hashlib
import hmac
import http
import json
import os
import re
import struct
import time
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

from testbed.fakes import gif
from testbed.fakes.serving import JPEG_OR_SO, Answer, Call, Network, Refused, serve

OFFICIAL = "https://api.twitter.com"
USER_ID = "1700000000000000001"
USERNAME = "meshibot_fake"
MAX_IMAGE_BYTES = 5 * 1024 * 1024
MAX_GIF_BYTES = 15 * 1024 * 1024
MAX_PART_BYTES = 5 * 1024 * 1024
SECRETS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")

PROBLEMS: Mapping[str, Refused] = {
    "no_credits": Refused(
        402,
        {
            "account_id": int(USER_ID),
            "title": "CreditsDepleted",
            "detail": "Your enrolled account does not have any credits to fulfill this request.",
            "type": "https://api.twitter.com/2/problems/credits",
        },
    ),
    "revoked": Refused(
        401,
        {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"},
    ),
    "suspended": Refused(
        403,
        {
            "title": "Forbidden",
            "status": 403,
            "type": "about:blank",
            "detail": "Your account is suspended and is not permitted to access this feature.",
        },
    ),
    "locked": Refused(
        403,
        {"errors": [{"code": 326, "message": "To protect our users, this account is temporarily locked."}]},
    ),
    "missing_scope": Refused(
        403,
        {
            "title": "Forbidden",
            "type": "https://api.twitter.com/2/problems/oauth1-permissions",
            "status": 403,
            "detail": "Your client app is not configured with the appropriate oauth1 app permissions for "
            "this endpoint.",
        },
    ),
    "duplicate": Refused(
        403,
        {
            "detail": "You are not allowed to create a Tweet with duplicate content.",
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
        },
    ),
    "list_error": Refused(400, [{"code": 214, "message": "Bad request in a list."}]),
}


def invalid(detail: str) -> Refused:
    """A refusal as X words it: a general detail outside, the real one in `errors`."""
    return Refused(
        400,
        {
            "errors": [{"message": detail}],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": "https://api.twitter.com/2/problems/invalid-request",
        },
    )


class X(Network):
    """One account, and its app."""

    endpoints: ClassVar[Mapping[tuple[str, str], str]] = {
        ("POST", r"/2/tweets"): "tweets",
        ("GET", r"/2/tweets"): "lookup",
        ("DELETE", r"/2/tweets/(\d+)"): "delete",
        ("POST", r"/2/media/upload"): "upload",
        ("GET", r"/2/media/upload"): "state",
        ("POST", r"/2/media/upload/initialize"): "begin",
        ("POST", r"/2/media/upload/(\d+)/append"): "append",
        ("POST", r"/2/media/upload/(\d+)/finalize"): "finish",
        ("POST", r"/2/media/metadata"): "metadata",
        ("GET", r"/2/users/me"): "me",
        ("POST", r"/oauth/request_token"): "request_token",
        ("POST", r"/oauth/access_token"): "access_token",
        ("GET", r"/2/users/(\d+)/tweets"): "timeline",
    }
    faults: ClassVar[Mapping[str, Refused]] = PROBLEMS
    first_id: ClassVar[int] = 1_990_000_000_000_000_000
    redirects_by: ClassVar[int] = 307

    def __post_init__(self) -> None:
        self.schemas = Schemas.at_hand()
        super().__post_init__()

    def forget(self) -> None:
        self.user_id = str(self.options.get("user_id", USER_ID))
        self.secrets = {name: str(self.options[name]) for name in SECRETS}
        self.parts: dict[str, dict[str, Any]] = {}
        self.nonces: set[str] = set()
        self.asked_for: set[str] = set()
        """Request tokens of the PIN flow."""
        self.window = {"limit": 100, "remaining": 100}
        self.works = {"for": 0, "fails": False}
        """How often a GIF is answered with 'in progress', and how that ends."""

    def control(self, verb: str, body: Mapping[str, Any]) -> Mapping[str, object]:
        if verb == "repost":
            post_id = f"{2 * 10**18 + len(self.posts)}"
            post = {"text": body["text"], "at": self.now(), "media_ids": [], "repost": True}
            self.posts[post_id] = {"id": post_id, **post}
        elif verb == "works":
            self.works = dict(body)
        elif verb == "window":
            self.window = {"limit": body["remaining"], "remaining": body["remaining"]}
        return {"schemas": self.schemas is not None}

    def check_answer(self, call: Call, answer: object) -> None:
        name = Schemas.RESPONSES.get(call.endpoint)
        if self.schemas and name and (wrong := self.schemas.check(name, answer)):
            self.write("broken", endpoint=call.endpoint, wrong=wrong)

    def error(self, status: int) -> object:
        return {"title": http.HTTPStatus(status).phrase, "status": status}

    def nothing_there(self, method: str, path: str) -> object:
        return {"title": "Not Found", "detail": f"There is no {method} {path}.", "status": 404}

    def always_told(self) -> dict[str, str]:
        return {
            "x-rate-limit-limit": str(self.window["limit"]),
            "x-rate-limit-remaining": str(self.window["remaining"]),
            "x-rate-limit-reset": str(int(self.now()) + 900),
            "x-user-limit-24hour-remaining": "90",
            "x-user-limit-24hour-reset": str(int(self.now()) + 86_400),
        }

    # ---- what every call has in common ----------------------------------------------------------

    def accept(self, call: Call) -> None:
        """Check the signature, and count the call against the window; refuse where that is used up."""
        self.authenticate(call)
        with self.lock:
            if self.window["remaining"] <= 0:
                raise Refused(
                    429, {"title": "Too Many Requests", "detail": "Too Many Requests", "status": 429}
                )
            self.window["remaining"] -= 1

    def sent(self, call: Call) -> dict[str, Any]:
        """What an accepted call brings, as the document wants it: files as bytes."""
        self.accept(call)
        if call.headers.get("content-type", "").startswith("multipart/"):
            fields = {name: v[1] if isinstance(v, tuple) else v for name, v in call.form().items()}
        else:
            fields = json.loads(call.body)
        name = Schemas.REQUESTS.get(call.endpoint)
        if self.schemas is not None and name is not None:
            plain = {key: "" if isinstance(value, bytes) else value for key, value in fields.items()}
            if wrong := self.schemas.check(name, plain):
                raise invalid(wrong)
        return fields

    def authenticate(self, call: Call, token: tuple[str, str] | None = None) -> dict[str, str]:
        """Check an OAuth 1.0a HMAC-SHA1 signature by RFC 5849, section 3.4; the header's own parameters.

        `token` is what it has to be signed with beside the app's, where that is not the account's.
        """
        token = token or (self.secrets["access_token"], self.secrets["access_token_secret"])
        header = call.headers.get("authorization", "")
        if not header.startswith("OAuth "):
            raise PROBLEMS["revoked"]
        given = {
            unquote(name.strip()): unquote(value.strip().strip('"'))
            for name, _, value in (part.partition("=") for part in header[6:].split(","))
        }
        signature = given.pop("oauth_signature", "")
        given.pop("realm", None)
        is_form = call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        form = parse_qsl(call.body.decode()) if is_form else []
        pairs = [*given.items(), *call.query, *form]
        encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs)
        parameters = "&".join(f"{name}={value}" for name, value in encoded)
        base = "&".join(quote(part, safe="~") for part in (call.method, OFFICIAL + call.path, parameters))
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
            raise PROBLEMS["revoked"]
        return given

    def request_token(self, call: Call) -> Answer:
        """For an app alone; its callback has to be out of band. The PIN is the token's digits backwards."""
        given = self.authenticate(call, token=("", ""))
        if given.get("oauth_callback") != "oob":
            raise Refused(403, {"errors": [{"code": 415, "message": "Callback URL not approved."}]})
        with self.lock:
            token = f"request-{self.new_id()}"
            self.asked_for.add(token)
        fields = {"oauth_token": token, "oauth_token_secret": "request-secret-planted"}
        return 200, urlencode({**fields, "oauth_callback_confirmed": "true"}).encode()

    def access_token(self, call: Call) -> Answer:
        """For the PIN of a request token, once."""
        token = re.search('oauth_token="([^"]*)"', call.headers.get("authorization", ""))
        if token is None or token[1] not in self.asked_for:
            raise Refused(401, {"errors": [{"code": 89, "message": "Invalid request token."}]})
        given = self.authenticate(call, token=(token[1], "request-secret-planted"))
        if given.get("oauth_verifier") != token[1][:-8:-1]:
            raise Refused(401, {"errors": [{"message": "Invalid oauth_verifier parameter"}]})
        with self.lock:
            self.asked_for.discard(token[1])
        names = {"oauth_token": "access_token", "oauth_token_secret": "access_token_secret"}
        fields = {name: self.secrets[secret] for name, secret in names.items()}
        return 200, urlencode({**fields, "user_id": self.user_id, "screen_name": USERNAME}).encode()

    def upload(self, call: Call) -> Answer:
        fields = self.sent(call)
        data = fields["media"]
        if isinstance(data, str):
            data = base64.b64decode(data)
        if len(data) > MAX_IMAGE_BYTES:
            raise Refused(
                413, {"title": "Payload Too Large", "detail": "The media is larger than 5 MB.", "status": 413}
            )
        if fields.get("media_category") != "tweet_image":
            raise invalid("The media_category is missing or wrong.")
        if not data.startswith(JPEG_OR_SO):
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

    def begin(self, call: Call) -> Answer:
        """A GIF in parts: nothing else is taken so here."""
        body = self.sent(call)
        if body.get("media_category") != "tweet_gif" or body.get("media_type") != "image/gif":
            raise invalid("The media_category or the media_type is wrong.")
        if not 0 < body.get("total_bytes", 0) <= MAX_GIF_BYTES:
            raise invalid("File size exceeds 15728640 bytes.")
        with self.lock:
            media_id = self.new_id()
            self.parts[media_id] = {"size": body["total_bytes"], "data": b"", "next": 0}
        return 202, {"data": {"id": media_id, "media_key": f"16_{media_id}", "expires_after_secs": 86_399}}

    def append(self, call: Call) -> Answer:
        """The parts come in their order, each once."""
        fields = self.sent(call)
        with self.lock:
            begun = self.parts.get(call.name)
            if begun is None or int(fields["segment_index"]) != begun["next"]:
                raise invalid("The segment_index is not the next one.")
            if len(fields["media"]) > MAX_PART_BYTES:
                raise Refused(413, {"title": "Payload Too Large", "detail": "Over 5 MB.", "status": 413})
            begun["data"] += fields["media"]
            begun["next"] += 1
        return 200, {"data": {"expires_at": int(self.now()) + 86_399}}

    def finish(self, call: Call) -> Answer:
        self.accept(call)
        media_id = call.name
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

    def state(self, call: Call) -> Answer:
        """How far it is with a GIF; each look takes it further."""
        self.accept(call)
        media_id = call.asked("media_id")
        if call.asked("command") != "STATUS" or "works" not in self.media.get(media_id, {}):
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

    def metadata(self, call: Call) -> Answer:
        body = self.sent(call)
        text = body.get("metadata", {}).get("alt_text", {}).get("text", "")
        if len(text) > 1_000:
            raise invalid("The alt text is longer than 1,000 characters.")
        if body["id"] not in self.media:
            raise invalid("The media id is unknown.")
        with self.lock:
            self.write("metadata", id=body["id"], alt_text=text)
        return 200, {"data": {"id": body["id"], "associated_metadata": body["metadata"]}}

    def tweets(self, call: Call) -> Answer:
        body = self.sent(call)
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
                raise PROBLEMS["duplicate"]
            post_id = self.new_id()
            self.posts[post_id] = self.write(
                "post",
                id=post_id,
                text=text,
                media_ids=media_ids,
                made_with_ai=body.get("made_with_ai", False),
            )
        return 201, {"data": {"id": post_id, "text": text, "edit_history_post_ids": [post_id]}}

    def delete(self, call: Call) -> Answer:
        self.accept(call)
        with self.lock:
            if self.posts.pop(call.name, None) is None:
                raise Refused(
                    404,
                    {
                        "title": "Not Found Error",
                        "detail": f"Could not find tweet with id: [{call.name}].",
                        "type": "https://api.twitter.com/2/problems/resource-not-found",
                    },
                )
            self.write("delete", id=call.name)
        return 200, {"data": {"deleted": True}}

    def me(self, call: Call) -> Answer:
        self.accept(call)
        return 200, {"data": {"id": self.user_id, "name": "飯bot", "username": USERNAME}}

    def timeline(self, call: Call) -> Answer:
        """Newest first, in pages, from `start_time` on."""
        self.accept(call)
        if call.name != self.user_id:
            raise Refused(404, {"title": "Not Found Error", "detail": "Could not find user.", "status": 404})
        size = int(call.asked("max_results", "10"))
        if not 5 <= size <= 100:
            raise invalid(f"The `max_results` query parameter value [{size}] is not between 5 and 100.")
        fields, left_out = (call.asked(name).split(",") for name in ("tweet.fields", "exclude"))
        since = call.asked("start_time", "1970-01-01T00:00:00Z")
        start = datetime.strptime(since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        shown = sorted(self.seen(call), key=lambda post: str(post["id"]), reverse=True)
        seen = [
            {
                "id": post["id"],
                "text": f"{post['text']} https://t.co/{post['id'][-10:]}",
                "edit_history_post_ids": [post["id"]],
                **({"created_at": _iso(post["at"])} if "created_at" in fields else {}),
            }
            for post in shown
            if not (post.get("repost") and "retweets" in left_out) and post["at"] >= start
        ]
        offset = int(call.asked("pagination_token", "0"))
        page = seen[offset : offset + size]
        meta: dict[str, object] = {"result_count": len(page)}
        if offset + size < len(seen):
            meta["next_token"] = str(offset + size)
        return 200, {"data": page, "meta": meta} if page else {"meta": meta}

    def lookup(self, call: Call) -> Answer:
        """Posts by their ids; of those that are gone, an error each in an answer of 200."""
        self.accept(call)
        ids = call.asked("ids").split(",")
        if not 1 <= len(ids) <= 100 or not all(each.isdigit() for each in ids):
            raise invalid("The `ids` query parameter value is not valid.")
        with_metrics = "public_metrics" in call.asked("post.fields")
        with self.lock:
            found = [
                {
                    "id": each,
                    "text": self.posts[each]["text"],
                    **({"public_metrics": self.metrics(each)} if with_metrics else {}),
                }
                for each in ids
                if each in self.posts
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

    def metrics(self, post_id: str) -> dict[str, int]:
        liked = self.liked(post_id)
        return {
            "like_count": liked["likes"],
            "repost_count": liked["reposts"],
            "quote_count": liked["quotes"],
            "reply_count": liked["replies"],
            "impression_count": 120,
            "bookmark_count": 0,
        }


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


def _iso(moment: float) -> str:
    """A moment as X writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    serve(X)
