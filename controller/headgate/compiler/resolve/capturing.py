"""Whether content is captured: by an option for all Gateways, or by a GatewayConfig for the processors of its own."""

from collections.abc import Mapping

from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import ai_gateway
from headgate.contract import openinference, otel

_ENV = "spec.extProc.kubernetes.env"


def captures_content(scope: Scope, config: ai_gateway.GatewayConfig | None) -> bool:
    """Of a Gateway with that GatewayConfig. Only pods of an Envoy Gateway have the container that it speaks of."""
    if not scope.options.extproc_sockets:
        return False
    return scope.options.capture or (scope.options.envoy_gateway and otel.captured_content(_environment(config)).any)


def check_capture(scope: Scope, config: ai_gateway.GatewayConfig) -> None:
    """Tells the author of a wish that is not understood."""
    environment = _environment(config)
    for note in (*otel.content_notes(environment), *openinference.notes(environment)):
        scope.report.warning(config, _ENV, note)


def _environment(config: ai_gateway.GatewayConfig | None) -> Mapping[str, str]:
    """Of the processor's container. What is taken from elsewhere is not known here."""
    processor = config.spec.ext_proc if config is not None else None
    container = processor.kubernetes if processor is not None else None
    listed = container.env if container is not None else ()
    return {
        str(each.get("name", "")): "valueFrom" if "valueFrom" in each else str(each.get("value", "")) for each in listed
    }
