"""The tables, as SQLAlchemy Core. `migrations/` makes them; a test holds both together.

`usage_events` has a row per request, `usage_hourly` the sums of an hour for each combination of what is asked for by.
Sums are kept with the events in one transaction, so they are always exact.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)
from sqlalchemy import Text as LongText

metadata: Final = MetaData()

EVENTS: Final = Table(
    "usage_events",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(200), nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("node", String(200), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("path", LongText, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("route", LongText, nullable=False),
    Column("rule", LongText, nullable=False),
    Column("backend", LongText, nullable=False),
    Column("service", LongText, nullable=False),
    Column("provider", LongText, nullable=False),
    Column("upstream", LongText, nullable=False),
    Column("lane", String(16), nullable=False),
    Column("client", LongText, nullable=False),
    Column("team", LongText, nullable=False),
    Column("original_model", LongText, nullable=False),
    Column("request_model", LongText, nullable=False),
    Column("response_model", LongText, nullable=False),
    Column("response_id", LongText, nullable=False),
    Column("finish_reasons", LongText, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", String(64), nullable=False),
    Column("details", LongText, nullable=False),
    Column("flags", LongText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempted", LongText, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_input_tokens", BigInteger),
    Column("cache_creation_input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("usage_source", String(16), nullable=False),
    Column("costs", LongText, nullable=False),
    Column("cost_nanos", BigInteger),
    Column("price", LongText, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("upstream_ms", Double),
    Column("ttft_ms", Double),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_bytes", BigInteger, nullable=False),
    Column("losses", LongText, nullable=False),
    Column("labels", LongText, nullable=False),
    Index("usage_events_by_time", "started_ns"),
    Index("usage_events_by_request", "request_id"),
)
"""Lists and maps (`finish_reasons`, `flags`, `attempted`, `costs`, `labels`) are JSON text: nobody asks by them."""

DIMENSIONS: Final = ("hour", "client", "team", "model", "served_model", "service", "provider", "route", "error")
"""What rows of sums are told apart by. `model` is the one that was asked for, `served_model` what the backend was."""
SUMS: Final = (
    "requests",
    "errors",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "cost_nanos",
    "unpriced",
    "estimated",
)
"""`unpriced` are served requests that no price was found for, `estimated` those whose counts are ours."""

BUCKETS: Final = 40
"""Of a histogram of milliseconds. Bucket i ends at 2^(i/2), 41 % above the one before; the last has no end."""
DURATION_BUCKETS: Final = tuple(f"duration_{i:02d}" for i in range(BUCKETS))
TTFT_BUCKETS: Final = tuple(f"ttft_{i:02d}" for i in range(BUCKETS))
COUNTED: Final = (*SUMS, *DURATION_BUCKETS, *TTFT_BUCKETS)
"""All columns of `usage_hourly` that are added up."""

HOURLY: Final = Table(
    "usage_hourly",
    metadata,
    Column("hour", Integer, nullable=False),
    *(Column(name, LongText, nullable=False) for name in DIMENSIONS[1:]),
    *(Column(name, BigInteger, nullable=False) for name in COUNTED),
    PrimaryKeyConstraint(*DIMENSIONS),
)
"""`hour` counts hours since 1970."""
