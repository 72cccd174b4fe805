"""What answers call themselves, and why they ended. Nobody knows it of earlier rows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = (("response_id", ""), ("finish_reasons", "[]"))


def upgrade() -> None:
    for name, nothing in _COLUMNS:
        op.add_column("usage_events", sa.Column(name, sa.Text(), nullable=False, server_default=nothing))


def downgrade() -> None:
    for name, _ in _COLUMNS:
        op.drop_column("usage_events", name)
