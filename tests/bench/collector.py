"""The collector's CPU per record, stage by stage, for batches of several sizes; in this process, without Envoy."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from headgate.collector.metering import Metering
from headgate.collector.sinks.json_lines import line
from headgate.collector.store.database import migrate, open_engine
from headgate.collector.store.writing import write
from headgate.collector.wire import read_message
from headgate.contract import metadata
from headgate.ledger.joining import Joiner, Settings
from headgate.ledger.prices import parse_prices
from headgate.runtime.metrics import Registry

from bench import report

BATCHES: Final = (20, 100, 500)
RECORDS: Final = 20_000
CLIENTS: Final = 20
MODELS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds of CPU per record."""

    batch: int
    read: float
    """From Envoy's bytes to priced records."""
    measured: float
    """Into the metrics."""
    store: float
    """Into SQLite, with its sums."""
    lines: float
    """As a line of JSON."""


def _entry(number: int) -> HTTPAccessLogEntry:
    """As Envoy sends it of a request of the native lane."""
    model, cluster = f"model-{number % MODELS}", f"default/openai-{number % 3}/route/r/rule/0/ref/0"
    entry = HTTPAccessLogEntry()
    common, request, response = entry.common_properties, entry.request, entry.response
    for address, port in (
        (common.downstream_direct_remote_address, 40_000 + number % 64),
        (common.upstream_remote_address, 443),
    ):
        address.socket_address.address, address.socket_address.port_value = "10.0.0.7", port
    common.start_time.FromNanoseconds(1_790_000_000_000_000_000 + number * 1_000_000)
    for duration, nanos in (
        (common.time_to_first_upstream_rx_byte, 200_000_000),
        (common.time_to_first_downstream_tx_byte, 210_000_000),
        (common.duration, 400_000_000 + number * 1_000),
    ):
        duration.nanos = nanos
    common.upstream_cluster, common.route_name = cluster, "default/r/rule/0/chat/match/0"
    common.upstream_request_attempt_count, common.stream_id = 1, f"{number:032x}"
    common.custom_tags[metadata.TAG_PROVIDER], common.custom_tags[metadata.TAG_FIRST_BODY] = "openai", "200123"
    values = common.metadata.filter_metadata[metadata.INTERNAL]
    values.update({metadata.INTERNAL_MODEL: model, metadata.INTERNAL_CLIENT: f"client-{number % CLIENTS}"})
    published = common.metadata.filter_metadata[metadata.NAMESPACE]
    published.update({metadata.USAGE_SOURCE: "reported", metadata.RESPONSE_MODEL: f"{model}-2025-01-01"})
    counts = (100 + number % 900, 50, 150 + number % 900)
    published.update(
        dict(zip((metadata.INPUT_TOKENS, metadata.OUTPUT_TOKENS, metadata.TOTAL_TOKENS), counts, strict=True))
    )
    request.request_method = RequestMethod.POST
    request.path, request.request_id = "/v1/chat/completions", f"{number:036x}"
    request.request_body_bytes, response.response_body_bytes = 900, 700
    response.response_code.value, response.response_code_details = 200, "via_upstream"
    return entry


def messages(batch: int) -> list[bytes]:
    """What Envoy sends for `RECORDS` requests."""
    found: list[bytes] = []
    for first in range(0, RECORDS, batch):
        message = StreamAccessLogsMessage()
        if not first:
            message.identifier.node.id = "envoy-1"
        message.http_logs.log_entry.extend(_entry(number) for number in range(first, first + batch))
        found.append(message.SerializeToString())
    return found


def measure(batch: int) -> Cost:
    """`RECORDS` records in batches of this size."""
    prices = parse_prices({"prices": [{"model": "model-*", "input": 2.5, "output": 10}]})
    joiner, sent = Joiner("envoy-1", Settings(prices=prices)), messages(batch)
    began = time.process_time()
    batches = [[record for entry in read_message(data)[1] if (record := joiner.feed(entry))] for data in sent]
    read = time.process_time()
    metering = Metering(Registry())
    for records in batches:
        metering.take(records)
    measured = time.process_time()
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as directory:
        engine = open_engine(str(Path(directory) / "usage.db"))
        migrate(engine)
        migrated = time.process_time()
        for records in batches:
            write(engine, records)
        stored = time.process_time()
        engine.dispose()
    encoded = time.process_time()
    for records in batches:
        b"".join(map(line, records))
    done = time.process_time()
    spent = (read - began, measured - read, stored - migrated, done - encoded)
    each = [seconds * 1e6 / RECORDS for seconds in spent]
    return Cost(batch=batch, read=each[0], measured=each[1], store=each[2], lines=each[3])


def table() -> str:
    """All sizes of batches."""
    rows = [
        [
            f"{cost.batch}",
            *(f"{each:.1f}" for each in (cost.read, cost.measured, cost.store, cost.lines)),
            f"{cost.read + cost.measured + cost.store:.1f}",
            f"{cost.read + cost.measured + cost.store + cost.lines:.1f}",
        ]
        for cost in map(measure, BATCHES)
    ]
    head = ["records a batch", "read us/record", "measured", "stored", "as lines", "with a store", "and lines"]
    return report.table(head, rows)
