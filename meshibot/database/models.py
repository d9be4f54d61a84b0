"""The tables. In Python every time is aware and in UTC, and a perceptual hash an unsigned 64-bit integer."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, relationship

from meshibot.kinds import Kind


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Only aware datetimes go in, and what comes out is aware and in UTC, on SQLite as well."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give every instant back in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Hash64(TypeDecorator[int]):
    """An unsigned 64-bit integer, kept as the signed one with the same bits: SQL has no unsigned type."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """0 … 2⁶⁴-1 to the signed range."""
        if value is None:
            return None
        if not 0 <= value < 1 << 64:
            raise ValueError(f"not an unsigned 64-bit integer: {value}")
        return value - (1 << 64) if value >= 1 << 63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        """The signed range back to 0 … 2⁶⁴-1."""
        return None if value is None else value % (1 << 64)


class AccountState(StrEnum):
    """Whether an account may send."""

    ACTIVE = "active"
    STOPPED = "stopped"


class PictureState(StrEnum):
    """`approved` pictures are the stock; a `reserved` one belongs to a post that is under way."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    RESERVED = "reserved"
    POSTED = "posted"
    REJECTED = "rejected"


class Verdict(StrEnum):
    """What a person said of a picture. Its state says what became of it."""

    APPROVED = "approved"
    REJECTED = "rejected"


class SlotState(StrEnum):
    """A slot ends `taken` (it has a post, whose state says the rest), `missed` or `skipped` by a person."""

    PLANNED = "planned"
    TAKEN = "taken"
    MISSED = "missed"
    SKIPPED = "skipped"


class PostState(StrEnum):
    """The state machine of a post; see docs/architecture.md.

    What a person wrote ahead of its slot is `approved` until the slot comes due.
    """

    APPROVED = "approved"
    PLANNED = "planned"
    CLAIMED = "claimed"
    UPLOADED = "uploaded"
    SENDING = "sending"
    RETRY = "retry"
    UNKNOWN = "unknown"
    POSTED = "posted"
    REJECTED = "rejected"
    MISSED = "missed"
    NEEDS_PERSON = "needs_person"
    CANCELLED = "cancelled"
    DELETED = "deleted"


OPEN_STATES = (
    PostState.PLANNED,
    PostState.CLAIMED,
    PostState.UPLOADED,
    PostState.SENDING,
    PostState.RETRY,
    PostState.UNKNOWN,
)
"""The states in which the outbox still has work to do."""

_OPEN = text(f"state IN ({', '.join(repr(str(state)) for state in OPEN_STATES)})")

IS_OPEN = text(f"posts.{_OPEN.text}")
"""That a post is open: in the words of its index, or SQLite would not use that."""

_FOR_A_PERSON = text(f"state = '{PostState.NEEDS_PERSON}'")

IS_FOR_A_PERSON = text(f"posts.{_FOR_A_PERSON.text}")
"""That a post waits for a person; likewise."""


class Phase(StrEnum):
    """What an attempt tried."""

    UPLOAD = "upload"
    SEND = "send"
    RECONCILE = "reconcile"
    DELETE = "delete"


class Outcome(StrEnum):
    """How an attempt ended; None while it is under way."""

    DONE = "done"
    RETRY = "retry"
    REJECTED = "rejected"
    STOPPED = "stopped"
    UNCLEAR = "unclear"
    DUPLICATE = "duplicate"
    FOUND = "found"
    ABSENT = "absent"
    INTERRUPTED = "interrupted"


def _words(states: type[StrEnum]) -> Enum:
    def values(members: Any) -> Sequence[str]:
        return [member.value for member in members]

    return Enum(states, native_enum=False, length=16, values_callable=values)


Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Types by annotation, and names for constraints, so that a migration can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own protocol)
        datetime: UtcDateTime(),
        str: Text(),
        AccountState: _words(AccountState),
        PictureState: _words(PictureState),
        Verdict: _words(Verdict),
        SlotState: _words(SlotState),
        Kind: _words(Kind),
        PostState: _words(PostState),
        Phase: _words(Phase),
        Outcome: _words(Outcome),
    }


class Versioned:
    """A row that several may change: who changes what they read before another's change is told so.

    SQLAlchemy counts, and raises StaleDataError; `Database.write` makes a sentence of it.
    """

    version: Mapped[int] = mapped_column()

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        """As SQLAlchemy asks for it."""
        return {"version_id_col": cls.version}


class Account(Base):
    """A name at a publisher. The lease columns make it one send at a time, whoever sends."""

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    publisher: Mapped[str]
    remote_user_id: Mapped[str | None]
    """The network's own id of the account, as soon as the network has said it."""
    next_serial: Mapped[int] = mapped_column(default=1)
    state: Mapped[AccountState] = mapped_column(default=AccountState.ACTIVE)
    stopped_reason: Mapped[str | None]
    stopped_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """Set by a rate limit: nothing is asked of the network before."""
    last_sent_at: Mapped[datetime | None]
    planned_until: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]


class Picture(Versioned, Base):
    """A sampled image. `file` is a path, relative to the bot's home where it lies inside."""

    __tablename__ = "pictures"
    __table_args__ = (
        Index("ix_pictures_state", "state", "id"),
        Index("ix_pictures_checkpoint", "checkpoint", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    checkpoint: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    score: Mapped[float]
    quantile: Mapped[float]
    phash: Mapped[int] = mapped_column(Hash64)
    file: Mapped[str]
    state: Mapped[PictureState] = mapped_column(default=PictureState.CANDIDATE)
    reason: Mapped[str | None]
    """Why it was rejected, by the bot or by a network."""
    verdict: Mapped[Verdict | None]
    """A person's word, which stays whatever becomes of the picture."""
    verdict_reason: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    caption: Mapped[str | None]
    """What a person wrote for it, said by the post that shows it alone; None for what is usual."""
    alt_text: Mapped[str | None]


class Slot(Versioned, Base):
    """A moment at which an account posts: `due_at` has the jitter in it, `key` the time of the cron line."""

    __tablename__ = "slots"
    __table_args__ = (Index("ix_slots_due", "account", "state", "due_at"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    key: Mapped[str] = mapped_column(String(200), unique=True)
    due_at: Mapped[datetime]
    local: Mapped[str]
    state: Mapped[SlotState] = mapped_column(default=SlotState.PLANNED)
    reason: Mapped[str | None]
    pinned: Mapped[bool] = mapped_column(default=False)
    """A person added, moved or skipped it: the planner leaves it as it is."""


class Post(Versioned, Base):
    """What is to be said once."""

    __tablename__ = "posts"
    __table_args__ = (
        UniqueConstraint("account", "serial"),
        # No two posts of ours are one post of the network. Where its id of the account is not known, it can't
        # be told.
        Index("uq_posts_remote", "publisher", "remote_user_id", "remote_id", unique=True),
        # Partial on PostgreSQL too: the migration makes them so. To say it here would import its dialect,
        # 2 MB and a twentieth of the time that `status` takes, for those who have SQLite.
        Index("ix_posts_open", "account", "not_before", sqlite_where=_OPEN),
        Index("ix_posts_person", "account", sqlite_where=_FOR_A_PERSON),
        # This one too, so that it is of no use to who looks for the others: see the migration.
        Index("ix_posts_sent", "account", "sent_at", sqlite_where=text("sent_at IS NOT NULL")),
        Index("ix_posts_group", "group_key", sqlite_where=text("group_key IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    publisher: Mapped[str]
    """Where it is, or is to be: settings may name another one for the account since."""
    remote_user_id: Mapped[str | None]
    """The account that it was sent to, by the network's own id."""
    slot_id: Mapped[int | None] = mapped_column(ForeignKey("slots.id"), unique=True)
    group_key: Mapped[str | None]
    """The same for posts of several accounts that show the same pictures."""
    serial: Mapped[int | None]
    """Counted for each account in the order of sending; None for what is only written ahead."""
    kind: Mapped[Kind]
    state: Mapped[PostState]
    caption: Mapped[str | None]
    """What is said. None until the first try makes it of the account's template."""
    alt_text: Mapped[str | None]
    draft: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What the first try fixed besides: whatever else the record on the network will hold."""
    media_file: Mapped[str | None]
    media_ids: Mapped[list[str] | None] = mapped_column(JSON)
    media_expires_at: Mapped[datetime | None]
    remote_id: Mapped[str | None]
    url: Mapped[str | None]
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """Tries that failed; bounded by the policy."""
    duplicate: Mapped[bool] = mapped_column(default=False)
    """The network refused it as a duplicate: it must never be sent again on a guess."""
    lease_owner: Mapped[str | None]
    not_before: Mapped[datetime]
    due_at: Mapped[datetime]
    """Its slot's moment, or that at which a person asked for it."""
    deadline: Mapped[datetime]
    """Due time and grace: nothing is sent after it."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When the last send began; committed before the request."""
    posted_at: Mapped[datetime | None]

    slot: Mapped[Slot | None] = relationship()
    pictures: Mapped[list["PostPicture"]] = relationship(order_by="PostPicture.position")
    tries: Mapped[list["Attempt"]] = relationship(order_by="Attempt.id")

    @property
    def number(self) -> int:
        """The serial of a post that is more than written ahead."""
        if self.serial is None:
            raise ValueError(f"post {self.id} has no serial yet")
        return self.serial


class PostPicture(Base):
    """Which pictures a post shows, and where: a grid has four."""

    __tablename__ = "post_pictures"

    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), primary_key=True, index=True)
    position: Mapped[int]

    picture: Mapped[Picture] = relationship()


class Attempt(Base):
    """One try at a step of a post, and how it ended."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"), index=True)
    phase: Mapped[Phase]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[Outcome | None]
    http_status: Mapped[int | None]
    error: Mapped[str | None]


class PostMetrics(Base):
    """How people answered to a post, as the network counted at one moment. None: it does not say."""

    __tablename__ = "post_metrics"

    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    measured_at: Mapped[datetime] = mapped_column(primary_key=True)
    likes: Mapped[int | None]
    reposts: Mapped[int | None]
    replies: Mapped[int | None]
    views: Mapped[int | None]


class Event(Base):
    """Who did what, and when: everything that a person changed, and what it was about."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    """Who: `command line`, or a name."""
    action: Mapped[str]
    """What: a verb, as the command has it, such as `resolve`."""
    account: Mapped[str | None] = mapped_column(ForeignKey("accounts.name"))
    post_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id"), index=True)
    slot_id: Mapped[int | None] = mapped_column(ForeignKey("slots.id"))
    picture_id: Mapped[int | None] = mapped_column(ForeignKey("pictures.id"))
    note: Mapped[str | None]
    """What was said, or how it was before: enough to take it back."""


class Notice(Base):
    """What the operator is told: something is wrong, and later that it is over."""

    __tablename__ = "notices"
    __table_args__ = (
        # Of one thing only one notice is open; partial on PostgreSQL too, as those of the posts.
        Index("uq_notices_open", "key", unique=True, sqlite_where=text("closed_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(String(200))
    """What it is about, such as `stopped|main`."""
    kind: Mapped[str]
    account: Mapped[str | None]
    text: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    told: Mapped[dict[str, str]] = mapped_column(JSON)
    """By the name of a way: `open` or `over`, as far as it was told."""


class Daemon(Base):
    """A `meshibot run`: seen lately, it lives."""

    __tablename__ = "daemons"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
