"""Money in billionths of a dollar: of the cheapest requests a millionth is more than they cost."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("usage_events", "usage_hourly"):
        op.alter_column(table, "cost_micros", new_column_name="cost_nanos")
        op.execute(f"UPDATE {table} SET cost_nanos = cost_nanos * 1000")  # noqa: S608 (names of ours)


def downgrade() -> None:
    for table in ("usage_events", "usage_hourly"):
        op.execute(f"UPDATE {table} SET cost_nanos = cost_nanos / 1000")  # noqa: S608 (names of ours)
        op.alter_column(table, "cost_nanos", new_column_name="cost_micros")
