"""tweepy's client with what it lacks. The only module with tweepy, imported when an account is opened."""

import logging
import time
from collections.abc import Mapping, Sequence

import requests
import tweepy
from tweepy.auth import OAuth1UserHandler

from meshibot import __version__
from meshibot.publishers.base import Fence
from meshibot.publishers.credentials import OAuth1Credentials
from meshibot.publishers.transport import Adapter, Timeouts

log = logging.getLogger(__name__)

# It writes the whole body of each request that it has signed: a picture of some hundred kilobytes.
logging.getLogger("requests_oauthlib.oauth1_auth").addFilter(lambda record: "body" not in str(record.msg))

HOST = "https://api.twitter.com"
"""Where tweepy sends to and what requests are signed for; api.x.com is the same service."""


class Client(tweepy.Client):  # type: ignore[misc]
    """tweepy's client with what it lacks: bounded time, another address, media upload, and the raw answer.

    Every method returns the `requests.Response` whatever its status, or raises `requests.RequestException`.
    """

    def __init__(
        self, credentials: OAuth1Credentials, api_base: str | None, timeouts: Timeouts | None
    ) -> None:
        super().__init__(
            consumer_key=credentials.consumer_key,
            consumer_secret=credentials.consumer_secret,
            access_token=credentials.access_token,
            access_token_secret=credentials.access_token_secret,
            return_type=requests.Response,
            # Its waiting re-POSTs in a hot loop where a 429 names no time.
            wait_on_rate_limit=False,
        )
        self.user_agent = f"meshibot/{__version__} Tweepy/{tweepy.__version__}"
        self.adapter = Adapter(api_base, timeouts or Timeouts())
        self.session.mount(HOST, self.adapter)

    def request(
        self,
        method: str,
        route: str,
        params: Mapping[str, str] | None = None,
        json: object = None,
        user_auth: bool = True,
        *,
        fields: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> requests.Response:
        """One signed request. tweepy's own logs the token, drops `detail` and trips over lists."""
        started = time.monotonic()
        signature = OAuth1UserHandler(
            self.consumer_key, self.consumer_secret, self.access_token, self.access_token_secret
        ).apply_auth()
        response: requests.Response = self.session.request(
            method,
            HOST + route,
            params=params,
            json=json,
            data=fields,
            files=files,
            headers={"User-Agent": self.user_agent},
            auth=signature,
            # A redirect would carry the signature elsewhere, and make a POST twice.
            allow_redirects=False,
        )
        log.debug("%s %s: %s in %.2f s", method, route, response.status_code, time.monotonic() - started)
        return response

    def upload_picture(self, name: str, data: bytes, media_type: str) -> requests.Response:
        """`POST /2/media/upload` in one shot, for pictures up to 5 MB."""
        return self.request(
            "POST",
            "/2/media/upload",
            fields={"media_category": "tweet_image"},
            files={"media": (name, data, media_type)},
        )

    def begin_upload(self, media_type: str, size: int) -> requests.Response:
        """`POST /2/media/upload/initialize`, for a GIF, which X takes in parts."""
        return self.request(
            "POST",
            "/2/media/upload/initialize",
            json={"media_type": media_type, "media_category": "tweet_gif", "total_bytes": size},
        )

    def append(self, media_id: str, place: int, part: bytes) -> requests.Response:
        """`POST /2/media/upload/{id}/append`: the parts are counted from 0."""
        return self.request(
            "POST",
            f"/2/media/upload/{media_id}/append",
            fields={"segment_index": str(place)},
            files={"media": ("part", part, "application/octet-stream")},
        )

    def finish_upload(self, media_id: str) -> requests.Response:
        """`POST /2/media/upload/{id}/finalize`."""
        return self.request("POST", f"/2/media/upload/{media_id}/finalize")

    def look_at_upload(self, media_id: str) -> requests.Response:
        """`GET /2/media/upload` with its status, where X still works on it."""
        return self.request("GET", "/2/media/upload", params={"command": "STATUS", "media_id": media_id})

    def describe_picture(self, media_id: str, alt_text: str) -> requests.Response:
        """`POST /2/media/metadata`."""
        return self.request(
            "POST", "/2/media/metadata", json={"id": media_id, "metadata": {"alt_text": {"text": alt_text}}}
        )

    def look_up(self, post_ids: Sequence[str]) -> requests.Response:
        """`GET /2/tweets` with public metrics, by the parameter's documented name: tweepy has its old one."""
        return self.request(
            "GET", "/2/tweets", params={"ids": ",".join(post_ids), "post.fields": "public_metrics"}
        )

    def post(self, text: str, media_ids: list[str], fence: Fence) -> requests.Response:
        """`POST /2/tweets` with the label for generated pictures, which tweepy's create_tweet can't set."""
        with self.adapter.fenced(fence):
            return self.request(
                "POST",
                "/2/tweets",
                json={"text": text, "media": {"media_ids": media_ids}, "made_with_ai": True},
            )
