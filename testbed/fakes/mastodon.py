"""A fake Mastodon server: strict about what it gets, and as forgetful of keys as the version that it plays.

Options: `software` and `version` (Mastodon's keys are replayed, 4.7.1 answers a used one with 500,
GoToSocial ignores them), `processing` (how often a picture is answered with 206), `account`, `configuration`,
`rules` and `bot`.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from testbed.fakes import gif
from testbed.fakes.serving import JPEG_OR_SO, Answer, Call, Network, Refused, serve

TOKEN = "mastodon-token-planted-4f9d21"
KEY_LASTS = 3600.0
MEDIA_LASTS = 86_400.0
MOST_PIXELS_OF_A_GIF = 921_600
VISIBILITIES = ("public", "unlisted", "private", "direct")
CONFIGURATION: dict[str, dict[str, Any]] = {
    "statuses": {"max_characters": 500, "max_media_attachments": 4, "characters_reserved_per_url": 23},
    "media_attachments": {
        "description_limit": 1500,
        "image_size_limit": 16_777_216,
        "image_matrix_limit": 33_177_600,
        "supported_mime_types": ["image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4"],
    },
}


class Mastodon(Network):
    """One account on one server."""

    endpoints: ClassVar[Mapping[tuple[str, str], str]] = {
        ("GET", "/.well-known/nodeinfo"): "nodeinfo",
        ("GET", "/nodeinfo/2.0"): "software",
        ("POST", "/api/v1/apps"): "app",
        ("POST", "/oauth/token"): "token",
        ("GET", "/api/v2/instance"): "instance",
        ("GET", "/api/v1/accounts/verify_credentials"): "me",
        ("POST", "/api/v2/media"): "upload",
        ("GET", r"/api/v1/media/([\w-]+)"): "probe",
        ("POST", "/api/v1/statuses"): "status",
        ("GET", r"/api/v1/accounts/([\w-]+)/statuses"): "timeline",
        ("GET", "/api/v1/statuses"): "several",
        ("GET", r"/api/v1/statuses/([\w-]+)"): "one",
        ("DELETE", r"/api/v1/statuses/([\w-]+)"): "delete",
    }
    faults: ClassVar[Mapping[str, Refused]] = {
        "revoked": Refused(401, {"error": "The access token was revoked"}),
        "suspended": Refused(403, {"error": "Your login is currently disabled"}),
        "missing_scope": Refused(403, {"error": "This action is outside the authorized scopes"}),
        "not_mastodon": Refused(404, b"<!DOCTYPE html><p>Nothing here</p>"),
        "blocked": Refused(403, b"<!DOCTYPE html><p>Your address is blocked</p>"),
        "too_large": Refused(413, b"<!DOCTYPE html><p>413 Request Entity Too Large</p>"),
        "thumbnail": Refused(500, {"error": "Error processing thumbnail for uploaded media"}),
        "validation": Refused(422, {"error": "Validation failed: Text is not to our taste"}),
    }

    def forget(self) -> None:
        self.keys: dict[str, tuple[float, str]] = {}

    @property
    def software_name(self) -> str:
        return str(self.options.get("software", "mastodon"))

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.options.get("version", "4.7.2").split("."))

    @property
    def configuration(self) -> dict[str, Any]:
        told: dict[str, Any] = self.options.get("configuration", CONFIGURATION)
        return told

    @property
    def account(self) -> str:
        return str(self.options.get("account", "109000000000000001"))

    def authorize(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, {"error": "The access token is invalid"})

    def nodeinfo(self, call: Call) -> Answer:
        host = call.headers["host"]
        link = {
            "rel": "http://nodeinfo.diaspora.software/ns/schema/2.0",
            "href": f"http://{host}/nodeinfo/2.0",
        }
        return 200, {"links": [link]}

    def software(self, call: Call) -> Answer:
        return 200, {
            "version": "2.0",
            "software": {"name": self.software_name, "version": self.options.get("version", "4.7.2")},
        }

    def app(self, call: Call) -> Answer:
        asked = call.json()
        if asked["redirect_uris"] != "urn:ietf:wg:oauth:2.0:oob" or "write:statuses" not in asked["scopes"]:
            raise Refused(422, {"error": "Validation failed: Redirect URI must be an absolute URI."})
        self.write("app", scopes=asked["scopes"])
        return 200, {"client_id": "client-id", "client_secret": "client-secret-planted"}

    def token(self, call: Call) -> Answer:
        """The code is the challenge in the link: a test can read it, and the verifier is checked by it."""
        asked = call.json()
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked["client_secret"] != "client-secret-planted" or asked["code"] != challenge:
            raise Refused(400, {"error": "invalid_grant", "error_description": "The code is not valid"})
        return 200, {"access_token": TOKEN, "token_type": "Bearer", "scope": asked["scope"]}

    def instance(self, call: Call) -> Answer:
        return 200, {
            "domain": "fake.example",
            "configuration": self.configuration,
            "rules": self.options.get("rules", []),
        }

    def me(self, call: Call) -> Answer:
        self.authorize(call)
        return 200, {
            "id": self.account,
            "username": "meshibot",
            "acct": "meshibot",
            "url": f"http://{call.headers['host']}/@meshibot",
            "bot": self.options.get("bot", True),
            "source": {"privacy": "public"},
        }

    def upload(self, call: Call) -> Answer:
        self.authorize(call)
        form = call.form()
        kind, data = form["file"]
        limits = self.configuration["media_attachments"]
        if len(data) > limits["image_size_limit"]:
            raise Refused(422, {"error": "Validation failed: File file size must be less than the limit"})
        moves = kind == "image/gif"
        if kind not in limits["supported_mime_types"] or not data.startswith(
            gif.SIGNATURES if moves else JPEG_OR_SO
        ):
            raise Refused(422, {"error": "Validation failed: File content type is invalid"})
        if moves:
            width, height, _ = gif.shape_of(data)
            if width * height > MOST_PIXELS_OF_A_GIF:
                raise Refused(422, {"error": "Validation failed: GIF dimensions are not supported"})
        if len(form.get("description", "")) > limits["description_limit"]:
            raise Refused(422, {"error": "Validation failed: Description is too long"})
        # It makes a video of a GIF, which takes a while.
        waits = int(self.options.get("processing", 1 if moves else 0))
        with self.lock:
            media_id = self.new_id()
            self.media[media_id] = {"at": self.now(), "waits": waits, "post": None, "moves": moves}
            self.write("upload", id=media_id, size=len(data), alt=form.get("description"))
        return (202 if waits else 200), {
            "id": media_id,
            "type": "gifv" if moves else "image",
            "url": None if waits else "…",
        }

    def probe(self, call: Call) -> Answer:
        """Only what is the account's own, and in no post."""
        self.authorize(call)
        with self.lock:
            media = self.media.get(call.name)
            if media is None or media["post"] or media["at"] + MEDIA_LASTS < self.now():
                raise Refused(404, {"error": "Record not found"})
            if media["waits"] > 0:
                media["waits"] -= 1
                return 206, {"id": call.name, "url": None}
        return 200, {"id": call.name, "url": "…"}

    def status(self, call: Call) -> Answer:
        self.authorize(call)
        body, key = call.json(), call.headers.get("idempotency-key")
        if not key:
            raise Refused(400, {"error": "the bot always sends a key"})
        with self.lock:
            if self.software_name == "mastodon" and key in self.keys:
                since, post_id = self.keys[key]
                if self.now() - since < KEY_LASTS:
                    if (4, 6, 0) <= self.version <= (4, 7, 1):
                        raise Refused(500, {"error": "An unexpected error occurred"})
                    return 200, self.shown(self.posts.get(post_id, {"id": post_id, "text": ""}), call)
            self.check_status(body)
            post = self.write(
                "post",
                id=self.new_id(),
                text=body["status"],
                media_ids=body["media_ids"],
                visibility=body["visibility"],
                language=body.get("language"),
                sensitive=body["sensitive"],
                key=key,
            )
            self.posts[post["id"]] = post
            for media_id in body["media_ids"]:
                self.media[media_id]["post"] = post["id"]
            self.keys[key] = (self.now(), post["id"])
        return 200, self.shown(post, call)

    def check_status(self, body: dict[str, Any]) -> None:
        limits = self.configuration["statuses"]
        text = re.sub(r"https?://\S+", "x" * limits["characters_reserved_per_url"], body["status"])
        if len(text) > limits["max_characters"]:  # the real one counts graphemes, which are fewer
            raise Refused(422, {"error": "Validation failed: Text character limit exceeded"})
        if body["visibility"] not in VISIBILITIES or not isinstance(body["sensitive"], bool):
            raise Refused(422, {"error": "Validation failed: Visibility is not included in the list"})
        if len(body["media_ids"]) > limits["max_media_attachments"]:
            raise Refused(422, {"error": "Validation failed: Cannot attach more than 4 files"})
        for media_id in body["media_ids"]:
            media = self.media.get(media_id)
            if media is None or media["post"] or media["at"] + MEDIA_LASTS < self.now():
                raise Refused(422, {"error": "Validation failed: The media could not be attached"})
            if media["moves"] and len(body["media_ids"]) > 1:
                raise Refused(422, {"error": "Validation failed: Cannot attach a video to a post"})
            if media["waits"] > 0:
                raise Refused(422, {"error": "Cannot attach files that have not finished processing"})

    def shown(self, post: Mapping[str, Any], call: Call) -> dict[str, Any]:
        lines = html.escape(str(post["text"]), quote=False).split("\n")
        link = r'<a href="\1\2"><span>\1</span><span>\2</span></a>'
        linked = re.sub(r"(https?://)(\S+)", link, "<br />".join(lines))
        made = datetime.fromtimestamp(post.get("at", self.now()), UTC)
        return {
            "id": post["id"],
            "created_at": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "content": f"<p>{linked}</p>",
            "url": f"http://{call.headers['host']}/@meshibot/{post['id']}",
            "media_attachments": [{"id": media_id} for media_id in post.get("media_ids", [])],
        }

    def timeline(self, call: Call) -> Answer:
        self.authorize(call)
        if call.name != self.account:
            raise Refused(404, {"error": "Record not found"})
        size = int(call.asked("limit", "20"))
        if not 1 <= size <= 40:
            raise Refused(400, {"error": "limit"})
        before = call.asked("max_id")
        posts = [post for post in self.seen(call) if not before or int(post["id"]) < int(before)]
        page = [self.shown(post, call) for post in posts[:size]]
        extra = {}
        if page:
            address = f"http://{call.headers['host']}/api/v1/accounts/{call.name}/statuses"
            extra["link"] = f'<{address}?limit={size}&max_id={page[-1]["id"]}>; rel="next"'
        return 200, (page, extra)

    def several(self, call: Call) -> Answer:
        """Since 4.3, on Mastodon."""
        self.authorize(call)
        if self.software_name != "mastodon" or self.version < (4, 3):
            raise Refused(404, {"error": "Record not found"})
        ids = [value for name, value in call.query if name == "id[]"]
        if not 1 <= len(ids) <= 20:
            raise Refused(422, {"error": "Too many ids"})
        return 200, [self.counted(post_id, call) for post_id in ids if post_id in self.posts]

    def one(self, call: Call) -> Answer:
        self.authorize(call)
        if call.name not in self.posts:
            raise Refused(404, {"error": "Record not found"})
        return 200, self.counted(call.name, call)

    def counted(self, post_id: str, call: Call) -> dict[str, Any]:
        liked = self.liked(post_id)
        return self.shown(self.posts[post_id], call) | {
            "favourites_count": liked["likes"],
            "reblogs_count": liked["reposts"],
            "quotes_count": liked["quotes"],
            "replies_count": liked["replies"],
        }

    def delete(self, call: Call) -> Answer:
        self.authorize(call)
        with self.lock:
            if self.posts.pop(call.name, None) is None:
                raise Refused(404, {"error": "Record not found"})
            self.write("delete", id=call.name)
        return 200, {"id": call.name}

    def rate_limit(self) -> dict[str, str]:
        reset = datetime.fromtimestamp(self.now() + 900, UTC).isoformat(timespec="microseconds")
        return {
            "x-ratelimit-limit": "300",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": reset.replace("+00:00", "Z"),
        }


if __name__ == "__main__":
    serve(Mastodon)
