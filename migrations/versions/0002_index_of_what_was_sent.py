"""The index of what was sent has only that in it.

SQLite, which knows nothing of the tables' contents, would otherwise take it for as good as those of the open
posts and of those that wait for a person, and read an account's whole history each time that it looks.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SENT = "sent_at IS NOT NULL"


def upgrade() -> None:
    """Make the index anew."""
    op.drop_index("ix_posts_sent", table_name="posts")
    op.create_index(
        "ix_posts_sent",
        "posts",
        ["account", "sent_at"],
        sqlite_where=sa.text(SENT),
        postgresql_where=sa.text(SENT),
    )
