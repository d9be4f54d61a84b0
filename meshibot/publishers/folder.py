"""A folder as a network: picture, caption, alt text and a JSON record beside each other.

The default, which needs no account. The record is written last and is
what makes a post; its name comes from account and serial, so that writing again writes the same.
"""

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from meshibot.errors import UsageError
from meshibot.publishers import prices
from meshibot.publishers.base import (
    VISIBILITIES,
    AccountStopped,
    Count,
    Draft,
    Fence,
    Idempotency,
    Identity,
    Limits,
    MediaGone,
    MediaRef,
    Moving,
    Price,
    Rejected,
    Remark,
    RetryLater,
    Seen,
    Sent,
    Visibility,
    read_picture,
    require_within_limits,
    unfenced,
)
from meshibot.publishers.settings import PublisherSettings
from trainer.files import replace_file, sync_folder

_FOR_A_PERSON = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)

_STEM = re.compile(r"[\w-][\w.-]*")


class FolderPublisher:
    """Posts become files in `folder`."""

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "the folder"
    settings: ClassVar[type[PublisherSettings]] = PublisherSettings
    idempotency: ClassVar[Idempotency] = "record"
    visibilities: ClassVar[tuple[Visibility, ...]] = VISIBILITIES
    marks_sensitive: ClassVar[bool] = True
    price: ClassVar[Price] = prices.FREE
    limits = Limits(
        caption=None,
        alt_text=1_000,
        media=4,
        image_bytes=5_000_000,
        image_side=4096,
        media_types=("image/jpeg", "image/png", "image/webp"),
        moving=Moving(15_000_000, 1080),
    )

    def __init__(self, folder: Path, account: str = "main") -> None:
        self.folder = folder
        self.account = account

    @classmethod
    def open(cls, account: PublisherSettings, home: Path) -> "FolderPublisher":
        """In the bot's own folder, for all accounts."""
        return cls(home / "posts", account.name)

    @staticmethod
    def count(caption: str, limits: Limits) -> tuple[Count, ...]:
        """A file takes a text of any length."""
        return ()

    @staticmethod
    def has_link(caption: str) -> bool:
        """Text is only text."""
        return False

    def post_url(self, remote_id: str) -> str:
        """The address of the record."""
        return (self.folder / f"{remote_id}.json").absolute().as_uri()

    def named(self, said: str) -> Sent:
        """By its record: a path, an address, or the name alone, with or without `.json`."""
        stem = said.strip().rpartition("/")[2].removesuffix(".json")
        if not _STEM.fullmatch(stem):
            raise UsageError(f"{said!r} is no post's record: give its name, such as main-0042.json.")
        return Sent(stem, self.post_url(stem))

    def upload(self, draft: Draft) -> tuple[MediaRef, ...]:
        """Copy the pictures in; without a record they are no post."""
        require_within_limits(self, draft)
        stem = self._stem(draft)
        references = []
        for position, source in enumerate(draft.media, start=1):
            data, _ = read_picture(self, source)
            number = f"-{position}" if len(draft.media) > 1 else ""
            name = f"{stem}{number}{source.suffix.lower()}"
            self._write(name, data)
            references.append(MediaRef(name))
        return tuple(references)

    def send(self, draft: Draft, media: tuple[MediaRef, ...], fence: Fence = unfenced) -> Sent:
        """Write caption, alt text and, last, the record; a post that is there already is left as it is."""
        require_within_limits(self, draft, media)
        if (there := self._existing(draft)) is not None:
            return there
        for item in media:
            if not (self.folder / item.id).is_file():
                raise MediaGone(f"The picture {item.id} is no longer in {self.folder}.")
        stem = self._stem(draft)
        self._write(f"{stem}.txt", f"{draft.caption}\n".encode())
        self._write(f"{stem}.alt.txt", f"{draft.alt_text}\n".encode())
        record = {
            "account": draft.account,
            "serial": draft.serial,
            "marker": draft.marker,
            "kind": draft.kind,
            "caption": draft.caption,
            "alt_text": draft.alt_text,
            "media": [item.id for item in media],
            "idempotency_key": draft.idempotency_key,
            "posted_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "language": draft.language,
            "visibility": draft.visibility,
            "sensitive": draft.sensitive,
            "metadata": dict(draft.metadata),
        }
        fence()
        self._write(
            f"{stem}.json", json.dumps(record, ensure_ascii=False, indent=2, default=str).encode() + b"\n"
        )
        return self._sent(stem)

    def find(self, draft: Draft, since: datetime) -> tuple[Sent, ...]:
        """The record of exactly this draft, if it is there; `since` is not needed."""
        there = self._existing(draft)
        return () if there is None else (there,)

    def latest(self, count: int) -> tuple[str, ...]:
        """Only the serials, as the names of the account's records have them: a damaged one says that too."""
        # Another account's name may begin alike.
        name = re.compile(rf"{re.escape(self._prefix(self.account))}-([0-9]{{4,9}})(?:-[0-9a-f]{{8}})?")
        stems = (path.stem for path in self.folder.glob("*.json"))
        serials = [int(found[1]) for stem in stems if (found := name.fullmatch(stem))]
        return tuple(f"No.{serial:04d}" for serial in sorted(serials, reverse=True)[:count])

    def published(self, since: datetime) -> Iterator[Seen]:
        """The account's records; what others put into the folder is passed over."""
        found = []
        since = since.replace(microsecond=0)  # records have whole seconds
        for file in self.folder.glob("*.json"):
            record = self._record(file.stem) or {}
            try:
                at = datetime.fromisoformat(record["posted_at"]).astimezone(UTC)
                caption, account = str(record["caption"]), record["account"]
            except (KeyError, TypeError, ValueError):
                continue
            if account == self.account and at >= since:
                found.append(Seen(self._sent(file.stem), caption, at))
        return iter(sorted(found, key=lambda seen: seen.at, reverse=True))

    def delete(self, remote_id: str) -> None:
        """Remove the files, and last the record that names them: after a crash the same call goes on."""
        if not _STEM.fullmatch(remote_id):
            raise Rejected(f"{remote_id!r} is no post in {self.folder}.")
        record = self._record(remote_id)
        if record is None:
            return
        media = [name for name in record.get("media", []) if isinstance(name, str) and "/" not in name]
        try:
            for name in (*media, f"{remote_id}.alt.txt", f"{remote_id}.txt", f"{remote_id}.json"):
                (self.folder / name).unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            self._raise(error)

    def check(self) -> Identity:
        """Prove that the folder can be written, by writing to it."""
        probe = ".meshibot-check"
        self._write(probe, b"")
        (self.folder / probe).unlink(missing_ok=True)
        # Several accounts share the folder, and no files.
        return Identity(
            str(self.folder / self._prefix(self.account)), self.folder.name, self.folder.absolute().as_uri()
        )

    def remarks(self) -> tuple[Remark, ...]:
        """A folder has no server."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""

    def _stem(self, draft: Draft) -> str:
        """The files' common name. Another post of the same serial (an earlier database's) stays."""
        plain = f"{self._prefix(draft.account)}-{draft.serial:04d}"
        record = self._record(plain)
        if record is None or record.get("idempotency_key") == draft.idempotency_key:
            return plain
        return f"{plain}-{hashlib.sha256(draft.idempotency_key.encode()).hexdigest()[:8]}"

    @staticmethod
    def _prefix(account: str) -> str:
        return re.sub(r"[^\w-]", "_", account)

    def _existing(self, draft: Draft) -> Sent | None:
        stem = self._stem(draft)
        return self._sent(stem) if self._record(stem) is not None else None

    def _record(self, stem: str) -> dict[str, Any] | None:
        path = self.folder / f"{stem}.json"
        try:
            record = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._raise(error)
        except ValueError as error:
            raise Rejected(f"The record {path} can't be read: {error}; move it away.") from error
        return record if isinstance(record, dict) else {}

    def _sent(self, stem: str) -> Sent:
        return Sent(stem, self.post_url(stem))

    def _write(self, name: str, data: bytes) -> None:
        try:
            replace_file(self.folder / name, data)
        except OSError as error:
            self._raise(error)

    def _raise(self, error: OSError) -> NoReturn:
        said = error.strerror or type(error).__name__
        if error.errno in _FOR_A_PERSON:
            raise AccountStopped(
                f"The folder {self.folder} can't be written: {said}.",
                "Make it a folder that this user may write to, or choose one, then run `meshibot resume`.",
                may_mend=True,  # its disk may be mounted late
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RetryLater(f"The disk of {self.folder} is full ({said}): make room.") from error
        raise RetryLater(f"The folder {self.folder} can't be used now: {said}.") from error
