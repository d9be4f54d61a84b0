"""A fake PDS: records under keys, sessions that run out, and lexicons that are kept to the byte.

Options: `access_lasts` and `refresh_lasts` (seconds of the fake's clock), `labels` of the profile,
`blob_limit`, `status` of the account. `createRecord` under a key that is taken answers 500, as the real one
does.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from testbed.fakes.serving import JPEG_OR_SO, Answer, Call, Network, Refused, serve

HANDLE = "ramen.fake.example"
PASSWORD = "abcd-efgh-planted-jklm"
DID = "did:plc:fakefakefakefakefakefake"
POST = "app.bsky.feed.post"
RKEY = re.compile("[2-7a-j][2-7a-z]{12}")
LOGINS = 30
"""In five minutes."""


def wrong(error: str, message: str, status: int = 400) -> Refused:
    return Refused(status, {"error": error, "message": message})


class Bluesky(Network):
    """One account on one server."""

    endpoints: ClassVar[Mapping[tuple[str, str], str]] = {
        ("POST", "/xrpc/com.atproto.server.createSession"): "login",
        ("POST", "/xrpc/com.atproto.server.refreshSession"): "refresh",
        ("GET", "/xrpc/com.atproto.server.getSession"): "whoami",
        ("POST", "/xrpc/com.atproto.repo.uploadBlob"): "upload",
        ("POST", "/xrpc/com.atproto.repo.putRecord"): "put",
        ("POST", "/xrpc/com.atproto.repo.createRecord"): "create",
        ("GET", "/xrpc/com.atproto.repo.getRecord"): "get",
        ("GET", "/xrpc/com.atproto.repo.listRecords"): "records",
        ("POST", "/xrpc/com.atproto.repo.deleteRecord"): "delete",
        ("GET", "/xrpc/app.bsky.feed.getPosts"): "several",
    }
    faults: ClassVar[Mapping[str, Refused]] = {
        "expired": wrong("ExpiredToken", "Token has expired"),
        "revoked": wrong("AuthenticationRequired", "Invalid identifier or password", 401),
        "main_password": wrong("AuthFactorTokenRequired", "A sign in code has been sent", 401),
        "suspended": wrong("AccountTakedown", "Account has been taken down", 401),
        "deactivated": wrong("AccountDeactivated", "Account is deactivated", 401),
        "validation": wrong("InvalidRequest", "Invalid app.bsky.feed.post record"),
        "blob_gone": wrong("BlobNotFound", "Could not find blob"),
        "too_large": wrong("InvalidSize", "This file is too large. It is 1.2MB but the maximum size is 1MB."),
        "not_bluesky": Refused(404, b"<!DOCTYPE html><p>Nothing here</p>"),
        "unknown_call": wrong("MethodNotImplemented", "Method Not Implemented", 501),
    }

    @property
    def did(self) -> str:
        account = self.options.get("account")
        return f"did:plc:{account}" if account else DID

    def forget(self) -> None:
        self.access: dict[str, float] = {}
        self.refreshes: dict[str, float] = {}
        self.logins: list[float] = []

    def session(self, call: Call) -> dict[str, Any]:
        with self.lock:
            number = self.new_id()
            access, refresh = f"access-planted-{number}", f"refresh-planted-{number}"
            self.access[access] = self.now() + float(self.options.get("access_lasts", 7200))
            self.refreshes[refresh] = self.now() + float(self.options.get("refresh_lasts", 7_776_000))
        host = f"http://{call.headers['host']}"
        pds = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": host}
        status = self.options.get("status")
        return {
            "did": self.did,
            "handle": HANDLE,
            "accessJwt": access,
            "refreshJwt": refresh,
            "didDoc": {"id": self.did, "service": [pds]},
            **({"active": False, "status": status} if status else {"active": True}),
        }

    def login(self, call: Call) -> Answer:
        body = call.json()
        with self.lock:
            self.logins = [at for at in self.logins if at > self.now() - 300] + [self.now()]
            if len(self.logins) > LOGINS:
                raise wrong("RateLimitExceeded", "Rate Limit Exceeded", 429)
        if body.get("identifier") not in (HANDLE, self.did) or body.get("password") != PASSWORD:
            raise wrong("AuthenticationRequired", "Invalid identifier or password", 401)
        return 200, self.session(call)

    def refresh(self, call: Call) -> Answer:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        with self.lock:
            if self.refreshes.get(token, 0.0) <= self.now():
                raise wrong("ExpiredToken", "Token has been revoked")
            self.refreshes[token] = min(self.refreshes[token], self.now() + 7200)
        return 200, self.session(call)

    def whoami(self, call: Call) -> Answer:
        self.authorize(call)
        status = self.options.get("status")
        active = {"active": False, "status": status} if status else {"active": True}
        return 200, {"did": self.did, "handle": HANDLE, **active}

    def authorize(self, call: Call) -> None:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            raise wrong("AuthMissing", "Authentication Required", 401)
        if self.access.get(token, 0.0) <= self.now():
            raise wrong("ExpiredToken", "Token has expired")

    def upload(self, call: Call) -> Answer:
        self.authorize(call)
        if not call.body.startswith(JPEG_OR_SO):
            raise wrong("InvalidMimeType", "Wrong type of file")
        link = f"bafkrei{hashlib.sha256(call.body).hexdigest()[:52]}"
        blob = {
            "$type": "blob",
            "ref": {"$link": link},
            "mimeType": call.headers["content-type"],
            "size": len(call.body),
        }
        with self.lock:
            self.media[link] = {"at": self.now(), "blob": blob}
            self.write("upload", id=link, size=len(call.body))
        return 200, {"blob": blob}

    def put(self, call: Call) -> Answer:
        self.authorize(call)
        body = call.json()
        rkey, record = self.checked(body)
        with self.lock:
            there = self.posts.get(rkey)
            answer = {"uri": f"at://{self.did}/{POST}/{rkey}", "cid": "bafyrei", "validationStatus": "valid"}
            if there is not None and there["record"] == record:
                return 200, answer
            if there is not None and "swapRecord" in body:
                raise wrong("InvalidSwap", f"Record was at {there['id']}")
            self.posts[rkey] = self.write("post", id=rkey, text=record["text"], record=record)
        return 200, answer | {"commit": {"cid": "bafyrei", "rev": rkey}}

    def create(self, call: Call) -> Answer:
        self.authorize(call)
        rkey, record = self.checked(call.json())
        with self.lock:
            if rkey in self.posts:
                raise wrong("InternalServerError", "Internal Server Error", 500)
            self.posts[rkey] = self.write("post", id=rkey, text=record["text"], record=record)
        return 200, {"uri": f"at://{self.did}/{POST}/{rkey}", "cid": "bafyrei"}

    def checked(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Key and record, as the lexicons have them."""
        if body.get("repo") not in (self.did, HANDLE) or body.get("collection") != POST:
            raise wrong("InvalidRequest", "repo or collection")
        rkey, record = body["rkey"], body["record"]
        if not RKEY.fullmatch(rkey):
            raise wrong("InvalidRequest", f"Invalid record key: {rkey}")
        if extra := set(record) - {
            "$type",
            "text",
            "createdAt",
            "langs",
            "facets",
            "embed",
            "labels",
            "tags",
        }:
            raise wrong("InvalidRequest", f"unknown fields {extra}")
        if record["$type"] != POST or len(record["text"].encode()) > 3000:
            raise wrong("InvalidRequest", "Record/text must not be longer than 3000 bytes")
        if datetime.fromisoformat(record["createdAt"]).tzinfo is None:
            raise wrong("InvalidRequest", "Record/createdAt must be an valid atproto datetime")
        langs = record.get("langs", [])
        if len(langs) > 3 or not all(re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]+)*", tag) for tag in langs):
            raise wrong("InvalidRequest", "Record/langs")
        for facet in record.get("facets", []):
            self.check_facet(record["text"].encode(), facet)
        self.check_images(record["embed"])
        return rkey, record

    def check_facet(self, text: bytes, facet: dict[str, Any]) -> None:
        """That it marks whole characters, and those that it speaks of."""
        start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
        if not 0 <= start < end <= len(text):
            raise wrong("InvalidRequest", "facet beyond the text")
        try:
            marked = text[start:end].decode()
        except UnicodeDecodeError:
            raise wrong("InvalidRequest", "facet within a character") from None
        (feature,) = facet["features"]
        kind = feature["$type"].removeprefix("app.bsky.richtext.facet#")
        meant = feature["uri"] if kind == "link" else feature["tag"]
        if kind not in ("link", "tag") or marked.lstrip("#＃") != meant or meant.startswith("#"):
            raise wrong("InvalidRequest", f"facet marks {marked}, and says {meant}")

    def check_images(self, embed: dict[str, Any]) -> None:
        if embed["$type"] != "app.bsky.embed.images" or not 1 <= len(embed["images"]) <= 4:
            raise wrong("InvalidRequest", "Record/embed")
        for image in embed["images"]:
            if set(image) - {"alt", "image", "aspectRatio"} or not isinstance(image["alt"], str):
                raise wrong("InvalidRequest", "Record/embed/images")
            ratio = image["aspectRatio"]
            if not all(isinstance(ratio[side], int) and ratio[side] >= 1 for side in ("width", "height")):
                raise wrong("InvalidRequest", "aspectRatio")
            kept = self.media.get(image["image"]["ref"]["$link"])
            if kept is None:
                raise wrong("BlobNotFound", "Could not find blob")
            if image["image"] != kept["blob"]:
                raise wrong("InvalidRequest", "blob is not as it was given")
            if kept["blob"]["size"] > int(self.options.get("blob_limit", 2_000_000)):
                raise wrong("InvalidSize", "This file is too large")

    def get(self, call: Call) -> Answer:
        """Without a login, and without a lag."""
        if call.asked("repo") not in (self.did, HANDLE):
            raise wrong("InvalidRequest", "Could not find repo")
        rkey = call.asked("rkey")
        if call.asked("collection") == "app.bsky.actor.profile":
            values = [{"val": label} for label in self.options.get("labels", ["bot"])]
            labels = {"$type": "com.atproto.label.defs#selfLabels", "values": values}
            return 200, {"uri": f"at://{self.did}/app.bsky.actor.profile/self", "value": {"labels": labels}}
        post = self.posts.get(rkey)
        if post is None:
            raise wrong("RecordNotFound", f"Could not locate record: at://{self.did}/{POST}/{rkey}")
        return 200, {"uri": f"at://{self.did}/{POST}/{rkey}", "cid": "bafyrei", "value": post["record"]}

    def records(self, call: Call) -> Answer:
        """The newest key first, without a login."""
        if call.asked("repo") not in (self.did, HANDLE) or call.asked("collection") != POST:
            raise wrong("InvalidRequest", "repo or collection")
        after = call.asked("cursor")
        newest = [
            post
            for post in sorted(self.posts.values(), key=lambda post: str(post["id"]), reverse=True)
            if not after or post["id"] < after
        ][: int(call.asked("limit", "50"))]
        records = [
            {"uri": f"at://{self.did}/{POST}/{post['id']}", "value": post["record"]} for post in newest
        ]
        return 200, {"records": records} | ({"cursor": newest[-1]["id"]} if newest else {})

    def several(self, call: Call) -> Answer:
        """As the app's own service sees them; those that are gone are left out."""
        self.authorize(call)
        uris = [value for name, value in call.query if name == "uris"]
        if not 1 <= len(uris) <= 25:
            raise wrong("InvalidRequest", "Error: Params must have the property uris, of at most 25")
        posts = []
        for uri in uris:
            place, _, rkey = uri.rpartition("/")
            if place != f"at://{DID}/{POST}":
                raise wrong("InvalidRequest", f"Error: {uri} must be a valid at-uri")
            if rkey in self.posts:
                liked = self.liked(rkey)
                counts = {"likeCount": liked["likes"], "repostCount": liked["reposts"]}
                more = {"quoteCount": liked["quotes"], "replyCount": liked["replies"]}
                posts.append({"uri": uri, "record": self.posts[rkey]["record"], **counts, **more})
        return 200, {"posts": posts}

    def delete(self, call: Call) -> Answer:
        self.authorize(call)
        body = call.json()
        with self.lock:
            if self.posts.pop(body["rkey"], None) is not None:
                self.write("delete", id=body["rkey"])
        return 200, {"commit": {"cid": "bafyrei", "rev": "3l"}}

    def error(self, status: int) -> object:
        names = {429: "RateLimitExceeded", 502: "UpstreamFailure"}
        return {"error": names.get(status, "InternalServerError"), "message": f"status {status}"}

    def rate_limit(self) -> dict[str, str]:
        return {
            "ratelimit-limit": "3000",
            "ratelimit-remaining": "0",
            "ratelimit-reset": str(int(self.now()) + 900),
            "ratelimit-policy": "3000;w=300",
            "retry-after": "900",
        }


if __name__ == "__main__":
    serve(Bluesky)
