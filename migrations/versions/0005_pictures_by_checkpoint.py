"""The gallery's filter by checkpoint, and the list of those that there are, find their index."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_pictures_checkpoint", "pictures", ["checkpoint", "id"])
