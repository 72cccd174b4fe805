"""What is measured on the data path: a row per scenario."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from bench import configuration as config

QUESTION: Final = "Write one friendly sentence about a fox. " * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the scenario's Gateway listens, and the providers."""

    gateway: int
    backend: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`route` makes the objects of a scenario with a Gateway of its own; None: no gateway of ours is in the way."""

    name: str
    means: str
    via: Literal["nothing", "bare", "headgate"]
    streamed: bool = False
    logged: bool = True
    """Whether the gateway writes a line of each request, as it does unless told not to; a bare hop writes none."""
    path: str = "/v1/chat/completions"
    route: Callable[[str, Ports], list[dict[str, Any]]] | None = None

    def gateway(self, port: int) -> list[dict[str, Any]]:
        """The Gateway of the scenario's own."""
        return [config.gateway(self.name, port)] if self.logged else config.unlogged_gateway(self.name, port)

    def body(self, *, pace_ms: float = 0.0) -> str:
        """The request's body; the scenario's name is the model; a stream has an event every `pace_ms`."""
        message = {"role": "user", "content": QUESTION}
        body: dict[str, Any] = {"model": self.name, "messages": [message], "temperature": 0.5}
        body["max_tokens"] = max(1, int(pace_ms * 10))
        if self.streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body, separators=(",", ":"))


def _native(name: str, ports: Ports) -> list[dict[str, Any]]:
    rule = config.model_rule(name, {"name": name})
    return [*config.backend(name, "OpenAI", ports.backend), config.ai_route(name, name, rule)]


def _rewritten(name: str, ports: Ports) -> list[dict[str, Any]]:
    rule = config.model_rule(name, {"name": name, "modelNameOverride": "another-model"})
    return [*config.backend(name, "OpenAI", ports.backend), config.ai_route(name, name, rule)]


def _limited(name: str, ports: Ports) -> list[dict[str, Any]]:
    route = config.ai_route(name, name, config.model_rule(name, {"name": name}), llmRequestCosts=[config.TOTAL_TOKENS])
    return [*config.backend(name, "OpenAI", ports.backend), route, config.token_limit(name, name)]


def _translated(name: str, ports: Ports) -> list[dict[str, Any]]:
    rule = config.model_rule(name, {"name": name})
    return [*config.backend(name, "Anthropic", ports.backend), config.ai_route(name, name, rule)]


SCENARIOS: Final = (
    Scenario(name="direct", means="no proxy", via="nothing"),
    Scenario(name="bare", means="bare Envoy hop", via="bare"),
    Scenario(name="native", means="native lane", via="headgate", route=_native),
    Scenario(name="native-unlogged", means="native lane, no log", via="headgate", logged=False, route=_native),
    Scenario(name="native-rewrite", means="native lane, model rewritten", via="headgate", route=_rewritten),
    Scenario(
        name="native-rewrite-unlogged",
        means="native lane, model rewritten, no log",
        via="headgate",
        logged=False,
        route=_rewritten,
    ),
    Scenario(name="native-limit", means="native lane, token limit", via="headgate", route=_limited),
    Scenario(name="extproc", means="extproc lane, OpenAI to Anthropic", via="headgate", route=_translated),
    Scenario(name="direct-stream", means="stream, no proxy", via="nothing", streamed=True),
    Scenario(name="bare-stream", means="stream, bare Envoy hop", via="bare", streamed=True),
    Scenario(name="native-stream", means="stream, native lane", via="headgate", streamed=True, route=_native),
    Scenario(
        name="native-limit-stream", means="stream, native, token limit", via="headgate", streamed=True, route=_limited
    ),
    Scenario(name="extproc-stream", means="stream, extproc lane", via="headgate", streamed=True, route=_translated),
)


def headgate_configuration(ports: dict[str, int], backend_port: int) -> str:
    """YAML with a Gateway, and so a listener and a filter chain, for each scenario of ours; `ports` by name."""
    objects = [config.gateway_class()]
    for scenario in SCENARIOS:
        if scenario.route:
            port = ports[scenario.name]
            objects += scenario.gateway(port)
            objects += scenario.route(scenario.name, Ports(gateway=port, backend=backend_port))
    return config.documents(*objects)
