"""Decides how an endpoint is served by a backend: relay within a dialect, bridge across two, or not at all.

The one door of this package for the shells and the compiler.
"""

from types import MappingProxyType
from typing import Final

from headgate.contract.facts import BackendFacts
from headgate.llm.bridge import BridgePlan
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import ENDPOINTS, Endpoint, StreamRule
from headgate.llm.error_bodies import error_body, error_response
from headgate.llm.errors import UnsupportedTranslation
from headgate.llm.exchange import Lane, Plan, ResponseTranslation, UpstreamRequest
from headgate.llm.hosts.host import Host
from headgate.llm.hosts.table import HOSTS
from headgate.llm.names import DialectName, HostName, Operation
from headgate.llm.operations.families import FAMILIES
from headgate.llm.relay_plan import RelayPlan
from headgate.llm.vendors import vendor_named

__all__ = [
    "CHAT_OPERATIONS",
    "OPENAI_API",
    "Lane",
    "Plan",
    "ResponseTranslation",
    "UpstreamRequest",
    "error_body",
    "error_response",
    "is_chat",
    "lane_for",
    "plan",
    "spoken_with",
]

PLANS_MAX: Final = 4096
"""Distinct (endpoint, backend) pairs kept planned per process; bounds memory when configurations come and go."""

OPENAI_API: Final = frozenset(
    (
        DialectName.OPENAI_CHAT,
        DialectName.OPENAI_COMPLETIONS,
        DialectName.OPENAI_EMBEDDINGS,
        DialectName.OPENAI_RESPONSES,
        DialectName.OPENAI_IMAGES,
        DialectName.OPENAI_AUDIO,
        DialectName.OPENAI_MODERATIONS,
        DialectName.VLLM_TOKENIZE,
        DialectName.JINA_RERANK,
    )
)
"""A backend that speaks one of OpenAI's dialects is taken to serve the whole API; its 404 tells otherwise."""

_RESPONSES_API: Final = OPENAI_API - {DialectName.OPENAI_CHAT, DialectName.OPENAI_COMPLETIONS}
"""A backend that is said to speak responses has no other chat."""

CHAT_OPERATIONS: Final = frozenset(
    (Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES, Operation.GENERATE_CONTENT, Operation.COMPLETION)
)
"""Operations that are one and the same in different words."""


def is_chat(endpoint: Endpoint) -> bool:
    """Whether its requests and answers are chats that we read."""
    return endpoint.operation in CHAT_OPERATIONS and endpoint.dialect in DIALECTS


def _chat_endpoints(*, stream: bool) -> MappingProxyType[DialectName, Endpoint]:
    unfit = StreamRule.NEVER if stream else StreamRule.ALWAYS
    chat = (endpoint for endpoint in ENDPOINTS if endpoint.operation in CHAT_OPERATIONS)
    return MappingProxyType({endpoint.dialect: endpoint for endpoint in chat if endpoint.stream is not unfit})


_CHAT_ENDPOINTS: Final = (_chat_endpoints(stream=False), _chat_endpoints(stream=True))
"""Where each chat dialect is served: whole answers, streams."""


def spoken_with(dialect: DialectName) -> frozenset[DialectName]:
    """The dialects that a backend of this dialect serves as they are."""
    if dialect is DialectName.OPENAI_RESPONSES:
        return _RESPONSES_API
    return OPENAI_API if dialect in OPENAI_API else frozenset((dialect,))


def lane_for(
    endpoint: Endpoint, dialect: DialectName | str, vendor: str = "", host: HostName | str = HostName.DIRECT
) -> Lane | None:
    """How a backend of that dialect, a server of that vendor's, can serve the endpoint from that host; None: it cannot.
    A dialect nobody knows is an error of ours."""
    name = DialectName(dialect)
    if endpoint.local:
        return None
    family, lacking = FAMILIES.get(endpoint.operation), endpoint.operation in vendor_named(vendor).lacks
    relayed = family is None or family.relays(endpoint, HostName(host), vendor)
    if endpoint.dialect in spoken_with(name) and relayed and not lacking:
        return "relay"
    if family is not None:
        return "bridge" if family.serves(endpoint, spoken_with(name), lacking=lacking) else None
    if endpoint.dialect is name:
        return None
    provider = DIALECTS.get(name)
    if is_chat(endpoint) and provider is not None:
        return "bridge" if provider.backend else None
    return None


def plan(endpoint: Endpoint, facts: BackendFacts) -> Plan:
    """The plan for a pair, made once per distinct pair. UnsupportedTranslation if nothing can serve it."""
    known = _plans.get((endpoint, id(facts)))
    if known is None:
        known = _make_plan(endpoint, facts)
        assert known.facts is facts, "it keeps them, so nothing else has their id"
        if len(_plans) >= PLANS_MAX:
            _plans.clear()
        _plans[endpoint, id(facts)] = known
    return known


_plans: Final[dict[tuple[Endpoint, int], Plan]] = {}
"""By identity: whoever reads facts keeps what was read, and to compare them takes longer than the rest of a look."""


def _make_plan(endpoint: Endpoint, facts: BackendFacts) -> Plan:
    lane, host = _lane(endpoint, facts)
    if lane == "relay":
        return RelayPlan(endpoint, facts, host)
    family = FAMILIES.get(endpoint.operation)
    if family is not None:
        return family.plan(endpoint, spoken_with(DialectName(facts.dialect)), facts, host)
    dialect = DialectName(facts.dialect)
    responses = None
    if dialect is DialectName.OPENAI_CHAT and _has_responses(facts, host):
        responses = _bridge(endpoint, facts, host, DialectName.OPENAI_RESPONSES)
    return _bridge(endpoint, facts, host, dialect, responses)


def _has_responses(facts: BackendFacts, host: Host) -> bool:
    """Whether what models do in the responses API alone is served there as well: OpenAI's and Azure's.
    <https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses>: since its version of March 2025."""
    if host.name is HostName.AZURE:
        return facts.version >= "2025-03"  # "v1" as well
    return facts.vendor == "OpenAI"


def _bridge(
    endpoint: Endpoint, facts: BackendFacts, host: Host, dialect: DialectName, responses: BridgePlan | None = None
) -> BridgePlan:
    return BridgePlan(
        endpoint,
        facts,
        host,
        targets=(_CHAT_ENDPOINTS[False][dialect], _CHAT_ENDPOINTS[True][dialect]),
        client=DIALECTS[endpoint.dialect],
        provider=DIALECTS[dialect],
        responses=responses,
    )


def _lane(endpoint: Endpoint, facts: BackendFacts) -> tuple[Lane, Host]:
    dialect = DialectName(facts.dialect)
    lane = lane_for(endpoint, dialect, facts.vendor, facts.host)
    if lane is None:
        raise UnsupportedTranslation(
            f"backend {facts.name} speaks {dialect}, which cannot serve {endpoint.full_path} ({endpoint.dialect})"
        )
    spoken = endpoint.dialect if lane == "relay" else dialect
    host = HOSTS.get(HostName(facts.host))
    if host is None or spoken not in host.dialects:
        raise UnsupportedTranslation(
            f"backend {facts.name} is hosted at {facts.host}, where {spoken} cannot be served yet"
        )
    return lane, host
