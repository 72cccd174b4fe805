"""Metrics of a process over OTLP, where `OTEL_*` variables ask for them; its page is there anyway.

Who is not asked imports nothing of OpenTelemetry's.
"""

import argparse
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from headgate.contract import otel
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Read, Reading, Registry

log = event_log("otlp")

PROCESS: Final = "headgate.process"
"""Attribute of the resource: what the process does."""
INSTANCE: Final = "service.instance.id"


class MetricsExportError(Exception):
    """Why metrics cannot be sent, in one line for the user."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of a process that others may start, who say themselves what is wrong with the variables."""
    parser.add_argument("--variables-told", action="store_true", help=argparse.SUPPRESS)


def tell(notes: Iterable[str]) -> None:
    """Says in the log what of the variables is not read."""
    for note in notes:
        log.warning("variable_not_read", note=note)


def read_of(registry: Registry) -> Read:
    """All that a registry has."""

    async def read() -> AsyncIterator[Reading]:
        for reading in registry.read():
            yield reading

    return read


@asynccontextmanager
async def exported(read: Read, process: str, *, told: bool = False) -> AsyncGenerator[None]:
    """Sends the metrics of a `process` meanwhile, and once more at the end. With `told`, what of the variables is not
    read has been said. Raises MetricsExportError."""
    if not otel.asks(os.environ, otel.Signal.METRICS):
        yield
        return
    # Imported here: messages of OpenTelemetry's for those who need them.
    from headgate.runtime.otlp.metrics import MetricsExport, metrics_settings
    from headgate.runtime.otlp.transport import open_transport

    settings, notes = metrics_settings(os.environ)
    tell(() if told else notes)
    assert settings is not None
    try:
        transport = open_transport(settings.destination, otel.Signal.METRICS)
    except OSError as error:
        raise MetricsExportError(f"OTLP: {error}") from error
    export = MetricsExport(read, replace(settings, resource=_resource(settings.resource, process)), transport)
    export.start()
    try:
        yield
    finally:
        await export.close()


def _resource(said: otel.Pairs, process: str) -> otel.Pairs:
    """Who tells: several processes have metrics of one name, which must not be taken for one's."""
    own = {INSTANCE: str(uuid.uuid4()), PROCESS: process}
    return tuple({**own, **dict(said)}.items())
