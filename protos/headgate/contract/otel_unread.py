"""OpenTelemetry's variables that nothing here reads, and what is taken instead."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from headgate.contract import openinference

_UNREAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "OTEL_LOG_LEVEL": "--log-level says what is logged",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "metrics are on the page of the admin port",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "metrics are on the page of --admin-port",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "spans are sent by OTLP",
        "OTEL_EXPORTER_ZIPKIN_TIMEOUT": "spans are sent by OTLP",
        "OTEL_EXPERIMENTAL_CONFIG_FILE": "variables are read",
        "OTEL_CONFIG_FILE": "variables are read",
    }
)
_ONE_VALUE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "OTEL_METRICS_EXEMPLAR_FILTER": ("always_off", "metrics have no exemplars"),
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
            "explicit_bucket_histogram",
            "histograms have the buckets that docs/metrics.md names",
        ),
    }
)
"""Variables of which one value is what is done anyway."""


def notes(environment: Mapping[str, str]) -> Iterator[str]:
    """What the user has to be told, once for all signals."""
    for name, instead in _UNREAD.items():
        if environment.get(name, "").strip():
            yield f"{name} is not read: {instead}"
    for name, (done, instead) in _ONE_VALUE.items():
        if (said := environment.get(name, "").strip().lower()) not in ("", done):
            yield f"{name}={said} is not done: {instead}"
    yield from openinference.notes(environment)
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip()
    if disabled.lower() not in ("", "true", "false"):
        yield f"OTEL_SDK_DISABLED={disabled} is not read: true or false is needed; false is taken"
