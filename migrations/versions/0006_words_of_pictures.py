"""Words that a person wrote for a picture before anybody knew which post would show it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; no picture has any yet."""
    op.add_column("pictures", sa.Column("caption", sa.Text()))
    op.add_column("pictures", sa.Column("alt_text", sa.Text()))
