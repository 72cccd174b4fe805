"""Usage: a row per request, and sums per hour."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SHORT = {
    "request_id": 200,
    "node": 200,
    "operation": 64,
    "method": 16,
    "lane": 16,
    "error": 64,
    "usage_source": 16,
}
_EVENT_TEXTS = (
    *("request_id", "node", "operation", "method", "path", "route", "rule", "backend", "service", "upstream", "lane"),
    *("client", "team", "original_model", "request_model", "response_model", "error", "details", "flags", "attempted"),
    *("usage_source", "costs", "price", "losses", "labels"),
)
_TOKENS = ("input", "cached_input", "cache_creation_input", "output", "reasoning", "total")
_DIMENSIONS = ("client", "team", "model", "served_model", "service", "route", "error")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(_SHORT[name]) if name in _SHORT else sa.Text(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "usage_events",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        *(_text(name) for name in _EVENT_TEXTS),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *(sa.Column(f"{name}_tokens", sa.BigInteger()) for name in _TOKENS),
        sa.Column("cost_micros", sa.BigInteger()),
        sa.Column("duration_ms", sa.Double[float](), nullable=False),
        sa.Column("upstream_ms", sa.Double[float]()),
        sa.Column("ttft_ms", sa.Double[float]()),
        sa.Column("request_bytes", sa.BigInteger(), nullable=False),
        sa.Column("response_bytes", sa.BigInteger(), nullable=False),
    )
    op.create_index("usage_events_by_time", "usage_events", ["started_ns"])
    op.create_index("usage_events_by_request", "usage_events", ["request_id"])
    counted = (
        *("requests", "errors", "attempts"),
        *(f"{name}_tokens" for name in _TOKENS),
        *("cost_micros", "unpriced", "estimated"),
        *(f"{kind}_{index:02d}" for kind in ("duration", "ttft") for index in range(40)),
    )
    op.create_table(
        "usage_hourly",
        sa.Column("hour", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _DIMENSIONS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counted),
        sa.PrimaryKeyConstraint("hour", *_DIMENSIONS),
    )


def downgrade() -> None:
    op.drop_table("usage_hourly")
    op.drop_table("usage_events")
