"""The first tables: accounts, pictures, slots, posts, attempts, daemons."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = "state IN ('planned', 'claimed', 'uploaded', 'sending', 'retry', 'unknown')"
FOR_A_PERSON = "state = 'needs_person'"


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("publisher", sa.Text(), nullable=False),
        sa.Column("remote_user_id", sa.Text(), nullable=True),
        sa.Column("next_serial", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.Column("stopped_at", TIME, nullable=True),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("last_sent_at", TIME, nullable=True),
        sa.Column("planned_until", TIME, nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_accounts"),
    )
    op.create_table(
        "daemons",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("stopped_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_daemons"),
    )
    op.create_table(
        "pictures",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("quantile", sa.Double(), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pictures"),
        sa.UniqueConstraint("sha256", name="uq_pictures_sha256"),
    )
    op.create_index("ix_pictures_state", "pictures", ["state", "id"])

    op.create_table(
        "slots",
        sa.Column("id", ID, nullable=False),
        sa.Column("account", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("local", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_slots_account"),
        sa.PrimaryKeyConstraint("id", name="pk_slots"),
        sa.UniqueConstraint("key", name="uq_slots_key"),
    )
    op.create_index("ix_slots_due", "slots", ["account", "state", "due_at"])

    op.create_table(
        "posts",
        sa.Column("id", ID, nullable=False),
        sa.Column("account", sa.String(length=100), nullable=False),
        sa.Column("slot_id", ID, nullable=True),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("caption", sa.Text(), nullable=True),
        sa.Column("alt_text", sa.Text(), nullable=True),
        sa.Column("media_file", sa.Text(), nullable=True),
        sa.Column("media_ids", sa.JSON(), nullable=True),
        sa.Column("media_expires_at", TIME, nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("duplicate", sa.Boolean(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("deadline", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME, nullable=True),
        sa.Column("posted_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_posts_account"),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name="fk_posts_slot_id"),
        sa.PrimaryKeyConstraint("id", name="pk_posts"),
        sa.UniqueConstraint("account", "serial", name="uq_posts_account_serial"),
        sa.UniqueConstraint("slot_id", name="uq_posts_slot_id"),
    )
    op.create_index(
        "ix_posts_open",
        "posts",
        ["account", "not_before"],
        sqlite_where=sa.text(OPEN),
        postgresql_where=sa.text(OPEN),
    )
    op.create_index(
        "ix_posts_person",
        "posts",
        ["account"],
        sqlite_where=sa.text(FOR_A_PERSON),
        postgresql_where=sa.text(FOR_A_PERSON),
    )
    op.create_index("ix_posts_sent", "posts", ["account", "sent_at"])

    op.create_table(
        "attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("post_id", ID, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_attempts_post_id"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_post_id", "attempts", ["post_id"])

    op.create_table(
        "post_pictures",
        sa.Column("post_id", ID, nullable=False),
        sa.Column("picture_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"], name="fk_post_pictures_picture_id"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_pictures_post_id"),
        sa.PrimaryKeyConstraint("post_id", "picture_id", name="pk_post_pictures"),
    )
    op.create_index("ix_post_pictures_picture_id", "post_pictures", ["picture_id"])
