"""What the collector is told by its environment, beside OpenTelemetry's variables (`headgate.contract.otel`)."""

from typing import Final

LEDGER_VARIABLE: Final = "HEADGATE_LEDGER"
"""Where usage is kept, for the collector and for `headgate usage`."""
OTLP: Final = "otlp"
"""What the sink of OpenTelemetry's logs is called."""
