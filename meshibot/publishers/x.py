"""X, through API v2 in OAuth 1.0a user context.

X has no idempotency key: an answer that leaves open whether a post was made raises Unclear, and `find` looks
for the caption's serial on the account's own timeline. What each answer means is decided here and nowhere
else; the facts are those of the official documentation, OpenAPI 2.167 and tweepy 4.17.
"""

import logging
import mimetypes
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn
from urllib.parse import urlsplit

import requests
import tweepy
from tweepy.auth import OAuth1UserHandler
from urllib3.exceptions import HTTPError, NameResolutionError

from meshibot import __version__
from meshibot.errors import UsageError
from meshibot.logs import Redactor
from meshibot.publishers.base import (
    AccountStopped,
    Draft,
    Idempotency,
    Identity,
    MediaGone,
    MediaRef,
    PossibleDuplicate,
    PublishError,
    Rejected,
    RetryLater,
    Sent,
    Unclear,
    contains_marker,
    require_within_limits,
)
from meshibot.publishers.credentials import OAuth1Credentials
from meshibot.publishers.transport import Adapter, Timeouts

log = logging.getLogger(__name__)

HOST = "https://api.twitter.com"
"""Where tweepy sends to and what requests are signed for; api.x.com is the same service."""

_PORTAL = "console.x.com"
_THEN = "then run `meshibot resume`."

_MEDIA_LIFETIME = timedelta(seconds=86_400)
_CLOCK_MARGIN = timedelta(hours=1)
_PAGES = 32
"""The timeline goes 3,200 posts back."""

_STOPPED_BY = re.compile(r"suspended|locked|deactivated|not enrolled|client-not-enrolled", re.I)
_PERMISSION_LACKS = re.compile(
    r"oauth1[ -]?(app )?permissions|app permissions|unsupported authentication|unsupported-authentication"
    r"|missing.{0,20}scope|required scope|read-only application",
    re.I,
)
_ADDRESS = re.compile(
    r"(?:(?:https?://)?(?:\w+\.)?(?:x|twitter)\.com/(?:i/web|\w+)/status(?:es)?/)?(\d{1,19})(?:[/?#]\S*)?",
    re.ASCII | re.I,
)
"""A post's number, or its address with it; the address may go on, with a picture's number or a source."""
_MEDIA_UNKNOWN = re.compile(r"media.{0,3}ids? .{0,20}(invalid|expired|not found)|invalid media", re.I)


class Client(tweepy.Client):  # type: ignore[misc]
    """tweepy's client with what it lacks: bounded time, another address, media upload, and the raw answer.

    Every method returns the `requests.Response` whatever its status, or raises `requests.RequestException`.
    """

    def __init__(self, credentials: OAuth1Credentials, api_base: str | None, timeouts: Timeouts) -> None:
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
        self.adapter = Adapter(api_base, timeouts)
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

    def describe_picture(self, media_id: str, alt_text: str) -> requests.Response:
        """`POST /2/media/metadata`."""
        return self.request(
            "POST", "/2/media/metadata", json={"id": media_id, "metadata": {"alt_text": {"text": alt_text}}}
        )

    def post(self, text: str, media_ids: list[str]) -> requests.Response:
        """`POST /2/tweets` with the label for generated pictures, which tweepy's create_tweet can't set."""
        return self.request(
            "POST",
            "/2/tweets",
            json={"text": text, "media": {"media_ids": media_ids}, "made_with_ai": True},
        )


Step = Literal["upload", "send", "read", "delete"]
_DOING: dict[Step, str] = {
    "upload": "uploading the picture",
    "send": "posting",
    "read": "reading the account",
    "delete": "deleting the post",
}


class XPublisher:
    """One account on X."""

    name: ClassVar[str] = "x"
    idempotency: ClassVar[Idempotency] = "reconcile"
    key_valid_for: ClassVar[timedelta | None] = None

    max_media: ClassVar[int] = 4
    max_image_bytes: ClassVar[int] = 5_000_000
    max_image_side: ClassVar[int] = 4096
    max_caption_weight: ClassVar[int] = 280
    max_alt_text: ClassVar[int] = 1_000
    media_types: ClassVar[tuple[str, ...]] = ("image/jpeg", "image/png", "image/webp")

    price_per_post: ClassVar[float] = 0.015
    price_per_post_with_url: ClassVar[float] = 0.20
    price_per_alt_text: ClassVar[float] = 0.005
    price_per_read: ClassVar[float] = 0.001

    def __init__(
        self, credentials: OAuth1Credentials, *, api_base: str | None = None, timeouts: Timeouts | None = None
    ) -> None:
        """`api_base` is another door to X (a proxy, a test's double); UsageError where it is no address."""
        if api_base is not None and not (
            urlsplit(api_base).scheme in ("http", "https") and urlsplit(api_base).hostname
        ):
            raise UsageError("MESHIBOT_X_API_BASE is no address (https://…): mend it or leave it out.")
        self._client = Client(credentials, api_base, timeouts or Timeouts())
        self._redact = Redactor(credentials.secrets())
        self._identity: Identity | None = None

    @staticmethod
    def named(said: str) -> Sent:
        """By its number, or by its address as the browser shows it."""
        found = _ADDRESS.fullmatch(said.strip())
        if found is None:
            raise UsageError(f"{said!r} is no post on X: give its address, or the number at the end of it.")
        return _sent(found[1])

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Upload each picture in one shot and set its alt text."""
        require_within_limits(type(self), draft)
        return tuple(self._upload_one(path, draft.alt_text) for path in draft.media)

    def send(self, draft: Draft, media: tuple[MediaRef, ...]) -> Sent:
        """Make the post, once. Never without a picture."""
        require_within_limits(type(self), draft)
        if len(media) != len(draft.media):
            raise Rejected(f"The post has {len(draft.media)} pictures, but {len(media)} were uploaded.")
        now = datetime.now(UTC)
        if any(item.expires_at is not None and item.expires_at <= now for item in media):
            raise MediaGone("The uploaded picture has expired on X and must be uploaded again.")
        response = self._call("send", lambda: self._client.post(draft.caption, [item.id for item in media]))
        remote_id = str(_data_of(response).get("id", ""))
        if not re.fullmatch(r"[0-9]{1,19}", remote_id):
            raise Unclear(
                f"X answered {response.status_code} to the post, but its answer names no post.",
                http_status=response.status_code,
            )
        return _sent(remote_id)

    def find(self, draft: Draft, since: datetime) -> Sent | None:
        """Read the account's own timeline from an hour before `since` (clocks differ) for the serial."""
        user_id = self.check().id
        start = max(since.astimezone(UTC) - _CLOCK_MARGIN, datetime(2010, 11, 6, tzinfo=UTC))
        token: str | None = None
        found: Sent | None = None
        for _ in range(_PAGES):
            response = self._read_page(user_id, start, token)
            posts, token = self._posts_of(response)
            for post in posts:
                if contains_marker(str(post.get("text", "")), draft.marker):
                    # Newest first: the last match is the post that was made first.
                    found = _sent(str(post["id"]))
            if not token:
                return found
        raise RetryLater(f"The timeline since {start:%Y-%m-%d %H:%M} UTC is too long to be read to its end.")

    def delete(self, remote_id: str) -> None:
        """Take a post down; one that X no longer knows is down already."""
        try:
            response = self._call("delete", lambda: self._client.delete_tweet(remote_id, user_auth=True))
        except Rejected as error:
            if error.http_status == 404:
                return
            raise
        if _data_of(response).get("deleted") is not True:
            raise RetryLater(
                "X answered without saying that the post is deleted.", http_status=response.status_code
            )

    def check(self) -> Identity:
        """Who the credentials belong to; asked once, then remembered."""
        if self._identity is None:
            response = self._call("read", lambda: self._client.get_me(user_auth=True))
            user = _data_of(response)
            if not user.get("id"):
                raise RetryLater(
                    "X answered without saying whose account this is.", http_status=response.status_code
                )
            name = str(user.get("username", ""))
            self._identity = Identity(str(user["id"]), name, f"https://x.com/{name}")
        return self._identity

    def close(self) -> None:
        """Close the session."""
        self._client.session.close()

    def _upload_one(self, path: Path, alt_text: str) -> MediaRef:
        media_type = mimetypes.guess_type(path.name)[0] or "an unknown type"
        if media_type not in self.media_types:
            raise Rejected(
                f"The picture {path.name} is {media_type}; X takes {', '.join(self.media_types)} here."
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Rejected(f"The picture {path} can't be read: {error.strerror}.") from error
        if len(data) > self.max_image_bytes:
            raise Rejected(f"The picture {path.name} has {len(data)} bytes; X allows {self.max_image_bytes}.")
        asked_at = datetime.now(UTC)
        response = self._call("upload", lambda: self._client.upload_picture(path.name, data, media_type))
        answer = _data_of(response)
        media_id = str(answer.get("id", ""))
        if not re.fullmatch(r"[0-9]{1,19}", media_id):
            raise RetryLater("X took the picture but named no media id.", http_status=response.status_code)
        if alt_text:
            self._call("upload", lambda: self._client.describe_picture(media_id, alt_text))
        seconds = answer.get("expires_after_secs")
        lifetime = timedelta(seconds=seconds) if isinstance(seconds, int) and seconds > 0 else _MEDIA_LIFETIME
        return MediaRef(media_id, asked_at + lifetime)

    def _read_page(self, user_id: str, start: datetime, token: str | None) -> requests.Response:
        return self._call(
            "read",
            lambda: self._client.get_users_tweets(
                user_id,
                start_time=start,
                max_results=100,
                pagination_token=token,
                # A repost of another bot's serial would look like ours.
                exclude=["replies", "retweets"],
                user_auth=True,
            ),
        )

    def _posts_of(self, response: requests.Response) -> tuple[list[dict[str, Any]], str | None]:
        """The posts of a page and the token of the next. RetryLater unless X says that these are all of them.

        X answers 200 with `errors`, and without posts, where it could not read them: that is no absence.
        """
        page = _json_of(response)
        meta = page.get("meta") if isinstance(page, dict) else None
        if not isinstance(page, dict) or not isinstance(meta, dict):
            said = self._redact(_said(response)[0]) if isinstance(page, dict) else "no page of posts"
            raise RetryLater(
                f"X answered the look at the timeline with something that can't be read: {said}."
            )
        posts = _dicts(page.get("data"))
        if meta.get("result_count") != len(posts) or (page.get("errors") and not posts):
            raise RetryLater("X answered the look at the timeline with a page that can't be read to its end.")
        token = meta.get("next_token")
        return posts, str(token) if token else None

    def _call(self, step: Step, ask: Any) -> requests.Response:
        """Ask X, and return an answer of 2xx; anything else becomes the exception that it means."""
        try:
            response: requests.Response = ask()
        except (OSError, HTTPError) as error:
            # RequestException is an OSError; urllib3's own are caught should one ever come through.
            self._raise_without_answer(step, error)
        if 200 <= response.status_code < 300:
            return response
        raise _meaning(step, response, self._redact)

    def _raise_without_answer(self, step: Step, error: Exception) -> NoReturn:
        log.debug("No answer from X", exc_info=error)
        why = _cause(error)
        # Only a request that never left is certainly not made; of one that did, X may have made a post.
        if step == "send" and self._client.adapter.anything_sent:
            raise Unclear(f"The post was sent to X, but no whole answer came back ({why}).") from None
        raise RetryLater(f"X can't be reached for {_DOING[step]} ({why}).") from None


def _meaning(step: Step, response: requests.Response, redact: Redactor) -> PublishError:
    """What an answer other than 2xx means, in words for a person and with what X says itself."""
    status = response.status_code
    doing = _DOING[step]
    said, kinds = (redact(text) for text in _said(response))
    if status == 429:
        at = _allowed_again(response.headers, datetime.now(UTC))
        when = f" until {at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
        return RetryLater(f"X's rate limit is used up for {doing}{when}.", at, http_status=status)
    if status >= 500 or status == 408:
        if step == "send":
            return Unclear(
                f"X answered {status} to the post and may have made it: {said}.", http_status=status
            )
        return RetryLater(f"X answered {status} to {doing}: {said}.", http_status=status)
    if status < 400:
        return RetryLater(
            f"X answered {status} to {doing}, a redirect that is not followed; look at MESHIBOT_X_API_BASE.",
            http_status=status,
        )
    if status == 401:
        return AccountStopped(
            f"X refuses the credentials (401: {said}).",
            f"Set the machine's clock right, put fresh values from {_PORTAL} into the four MESHIBOT_X_ "
            f"settings, {_THEN}",
            http_status=status,
        )
    if status == 402:
        return AccountStopped(
            f"The credits of the X developer account are used up (402: {said}).",
            f"Buy credits at {_PORTAL}, {_THEN}",
            http_status=status,
        )
    if status == 403 and step == "send" and "duplicate content" in said.lower():
        return PossibleDuplicate(f"X already has a post with this text: {said}.", http_status=status)
    if status == 403 and _PERMISSION_LACKS.search(f"{said} {kinds}"):
        return AccountStopped(
            f"The app may not do this for the account (403: {said}).",
            f"Give the app 'Read and write' at {_PORTAL}, make a new access token, put it into the settings, "
            f"{_THEN}",
            http_status=status,
        )
    if status == 403 and _STOPPED_BY.search(f"{said} {kinds}"):
        return AccountStopped(
            f"X has stopped the account or the app (403: {said}).",
            f"Log in at x.com, and at {_PORTAL}, and follow what X asks for, {_THEN}",
            http_status=status,
        )
    if status == 400 and step == "send" and _MEDIA_UNKNOWN.search(said):
        return MediaGone(f"X no longer knows the uploaded picture: {said}.", http_status=status)
    return Rejected(f"X refuses {doing} ({status}: {said}).", http_status=status)


def _said(response: requests.Response) -> tuple[str, str]:
    """What an error body says, in one line of at most 300 characters, and the kinds of problem it names."""
    body = _json_of(response)
    details: list[object] = []
    kinds: list[object] = []
    for problem in _dicts(body if isinstance(body, list) else [body]):
        inner = _dicts(problem.get("errors"))
        details += [error.get("detail") or error.get("message") for error in inner]
        details += [problem.get(name) for name in ("detail", "error", "message")]
        details += [problem.get("title")] if not any(details) else []
        kinds += [item.get(name) for item in (problem, *inner) for name in ("type", "reason", "title")]
    text = "; ".join(dict.fromkeys(str(detail).rstrip(".") for detail in details if detail))
    text = " ".join((text or response.reason or "no reason given").split())
    return text if len(text) <= 300 else f"{text[:299]}…", " ".join(str(kind) for kind in kinds if kind)


def _json_of(response: requests.Response) -> object:
    """The body, or None where it is no JSON (tweepy lets that error escape, though the post was made)."""
    try:
        body: object = response.json()
    except ValueError:
        return None
    return body


def _data_of(response: requests.Response) -> dict[str, Any]:
    body = _json_of(response)
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _sent(remote_id: str) -> Sent:
    # X leads from /i/ to the account's own address, whatever its name is by then.
    return Sent(remote_id, f"https://x.com/i/web/status/{remote_id}")


def _cause(error: BaseException) -> str:
    """The root of a chain of exceptions in a few words, without the addresses and objects in it."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        inner = [argument for argument in following.args if isinstance(argument, BaseException)]
        reason = getattr(following, "reason", None)
        if isinstance(reason, BaseException):
            inner.insert(0, reason)
        following = inner[0] if inner else following.__cause__ or following.__context__
    names = {type(link).__name__ for link in chain}
    if any(isinstance(link, NameResolutionError) for link in chain):
        return "its name can't be looked up"
    if "ConnectTimeoutError" in names:
        return "connecting took too long"
    if "ReadTimeoutError" in names or any(isinstance(link, TimeoutError) for link in chain):
        return "the answer took too long"
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return "the connection was refused"
    if any(
        isinstance(link, ConnectionError) for link in chain if not isinstance(link, requests.RequestException)
    ):
        return "the connection was cut"
    if any(name.startswith("SSL") or name == "CertificateError" for name in names):
        return "no safe connection (TLS) could be made or kept"
    if "ProxyError" in names:
        return "the proxy failed"
    return type(chain[-1]).__name__


def _allowed_again(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When a 429 says that one may ask again: the latest that its headers name, or None.

    Resets are moments on X's clock, so they are taken relative to the answer's own Date.
    """
    server_now = _http_date(headers.get("date", "")) or now
    moments: list[datetime] = []
    retry_after = headers.get("retry-after", "").strip()
    if retry_after.isdigit():
        moments.append(now + timedelta(seconds=min(int(retry_after), 366 * 86_400)))
    elif (named := _http_date(retry_after)) is not None:
        moments.append(now + (named - server_now))
    for limit in ("x-rate-limit", "x-app-limit-24hour", "x-user-limit-24hour"):
        reset = headers.get(f"{limit}-reset", "").strip()
        if reset.isdigit() and len(reset) <= 10 and headers.get(f"{limit}-remaining", "0").strip() == "0":
            moments.append(now + (datetime.fromtimestamp(int(reset), UTC) - server_now))
    return max(moments) if moments else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
