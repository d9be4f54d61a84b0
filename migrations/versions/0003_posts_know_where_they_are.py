"""Posts know where they are, and may be written ahead; slots may be pinned, pictures reviewed.

A post made so far was made by the publisher that its account has now, as far as anybody can tell, and was due
with its slot, or when it was asked for. `looks` and the lease's expiry of a post were read by nobody.

SQLite makes the table of the posts anew, which needs foreign keys to be off: `Database.migrate` sees to that.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PARTIAL = {
    "ix_posts_open": (
        ["account", "not_before"],
        "state IN ('planned', 'claimed', 'uploaded', 'sending', 'retry', 'unknown')",
    ),
    "ix_posts_person": (["account"], "state = 'needs_person'"),
    "ix_posts_sent": (["account", "sent_at"], "sent_at IS NOT NULL"),
}
WHERE_AND_WHEN = """
    UPDATE posts SET
        publisher = (SELECT publisher FROM accounts WHERE accounts.name = posts.account),
        due_at = coalesce((SELECT due_at FROM slots WHERE slots.id = posts.slot_id), created_at)
"""


def upgrade() -> None:
    """Change the tables, the largest one last, and make the new ones."""
    for table in ("pictures", "slots"):
        op.add_column(table, sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("slots", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("pictures", sa.Column("verdict", sa.String(16)))
    op.add_column("pictures", sa.Column("verdict_reason", sa.Text()))
    op.add_column("pictures", sa.Column("reviewed_at", TIME))
    change_posts()
    op.create_table(
        "post_metrics",
        sa.Column("post_id", ID, nullable=False),
        sa.Column("measured_at", TIME, nullable=False),
        *(sa.Column(name, sa.Integer()) for name in ("likes", "reposts", "replies", "views")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_metrics_post_id"),
        sa.PrimaryKeyConstraint("post_id", "measured_at", name="pk_post_metrics"),
    )
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("account", sa.String(100)),
        *(sa.Column(name, ID) for name in ("post_id", "slot_id", "picture_id")),
        sa.Column("note", sa.Text()),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_events_account"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_events_post_id"),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name="fk_events_slot_id"),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"], name="fk_events_picture_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_post_id", "events", ["post_id"])


def change_posts() -> None:
    """New columns, filled where they must be; the indexes are made once, at the end."""
    for name in PARTIAL:
        op.drop_index(name, table_name="posts")
    for column in ("publisher", "remote_user_id", "group_key"):
        op.add_column("posts", sa.Column(column, sa.Text()))
    op.add_column("posts", sa.Column("draft", sa.JSON()))
    op.add_column("posts", sa.Column("due_at", TIME))
    op.execute(WHERE_AND_WHEN)
    with op.batch_alter_table("posts") as posts:
        posts.alter_column("publisher", existing_type=sa.Text(), nullable=False)
        posts.alter_column("due_at", existing_type=TIME, nullable=False)
        posts.alter_column("serial", existing_type=sa.Integer(), nullable=True)
        posts.drop_column("looks")
        posts.drop_column("lease_expires_at")
    for name, (columns, where) in PARTIAL.items():
        partial_index(name, columns, where)
    partial_index("ix_posts_group", ["group_key"], "group_key IS NOT NULL")
    op.create_index("uq_posts_remote", "posts", ["publisher", "remote_user_id", "remote_id"], unique=True)


def partial_index(name: str, columns: list[str], where: str) -> None:
    """An index of the posts of which this is true."""
    op.create_index(name, "posts", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
