"""What the collector is told by its environment, as values."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

LEDGER_VARIABLE: Final = "HEADGATE_LEDGER"
"""Where usage is kept, for the collector and for `headgate usage`."""


class Otlp(msgspec.Struct, frozen=True, kw_only=True):
    """Where OpenTelemetry's logs go, as OTEL_EXPORTER_OTLP_* say it; no endpoint is nowhere."""

    endpoint: str = ""
    headers: Mapping[str, str] = {}
    resource: Mapping[str, str] = {}


def otlp_settings(environment: Mapping[str, str], endpoint: str = "") -> Otlp:
    """`endpoint` (a whole URL) wins over the environment's.

    Logs are sent where their own endpoint is set, or where OTEL_LOGS_EXPORTER asks for `otlp`: an endpoint that is
    there for traces asks for no logs.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Otlp()
    found = endpoint or environment.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "")
    if not found and environment.get("OTEL_LOGS_EXPORTER") == "otlp":
        base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
        found = f"{base.rstrip('/')}/v1/logs"
    if not found:
        return Otlp()
    headers = environment.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS") or environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    resource = dict(_pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    resource["service.name"] = environment.get("OTEL_SERVICE_NAME") or resource.get("service.name", "ai-gateway")
    return Otlp(endpoint=found, headers=dict(_pairs(headers)), resource=resource)


def _pairs(text: str) -> list[tuple[str, str]]:
    """`a=1,b=2`, percent-encoded."""
    found = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return [(unquote(name.strip()), unquote(value.strip())) for name, _, value in found]
