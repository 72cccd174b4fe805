"""Providers: of each request, and of what sums are told apart by. Nobody knows those of earlier rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BEFORE = ("hour", "client", "team", "model", "served_model", "service", "route", "error")
_AFTER = (*_BEFORE[:6], "provider", *_BEFORE[6:])


def upgrade() -> None:
    op.add_column("usage_events", sa.Column("provider", sa.Text(), nullable=False, server_default=""))
    _remake(_AFTER)


def downgrade() -> None:
    _remake(_BEFORE)
    op.drop_column("usage_events", "provider")


def _remake(dimensions: tuple[str, ...]) -> None:
    """`usage_hourly` anew, for SQLite cannot change a key. It has a row per hour and combination, so this is short."""
    found = sa.inspect(op.get_bind()).get_columns("usage_hourly")
    counted = [column["name"] for column in found if isinstance(column["type"], sa.BigInteger)]
    op.rename_table("usage_hourly", "usage_hourly_before")
    op.create_table(
        "usage_hourly",
        sa.Column("hour", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in dimensions[1:]),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counted),
        sa.PrimaryKeyConstraint(*dimensions, name=f"usage_hourly_by_{len(dimensions)}"),
    )
    known = {column["name"] for column in found}
    keys = [name if name in known else "''" for name in dimensions]
    sums = [f"SUM({name})" for name in counted]
    grouped = [name for name in dimensions if name in known]
    op.execute(
        f"INSERT INTO usage_hourly ({', '.join((*dimensions, *counted))}) "  # noqa: S608 (names of ours)
        f"SELECT {', '.join((*keys, *sums))} FROM usage_hourly_before GROUP BY {', '.join(grouped)}"
    )
    op.drop_table("usage_hourly_before")
