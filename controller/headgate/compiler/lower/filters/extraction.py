"""What is read from requests and answers: the model, the stream flag, the usage, the costs.

Requests: a script reads the body once, and puts the model into the header that routes match on.
Answers: a script reads the usage as it passes; the answer's bytes never change, but for the usage chunk that we forced,
which it drops, and for a web page, which is no answer. Where costs are computed, `bandwidth_limit`, whose limit nothing
reaches, ends the answer with trailers, `header_mutation` evaluates each cost into one, and a script moves it into
metadata.

Most are installed enabled and do nothing until the route tells them to: Envoy decides about filters installed disabled
when the headers come, and which route a request takes is known only after its body. What its path decides is
installed disabled.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.http.bandwidth_limit.v3.bandwidth_limit_pb2 import BandwidthLimit
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExternalProcessor,
    ExtProcOverrides,
    ExtProcPerRoute,
    MetadataOptions,
)
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation, HeaderMutationPerRoute
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate import lua
from headgate.compiler import cel, ir
from headgate.compiler.lanes import CLASSES, Lane, PathClass, lane_of
from headgate.compiler.lower import limits
from headgate.compiler.lower.filters import published, telemetry
from headgate.compiler.lower.wire import (
    add_header_if_absent,
    duration,
    http_filter,
    literal,
    packed,
    script,
    set_header,
    struct,
    told,
)
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract import headers, metadata
from headgate.contract.facts import RouterFacts
from headgate.llm.canonical import FinishReason
from headgate.llm.dialects.anthropic import response as anthropic
from headgate.llm.dialects.bedrock_converse import response as bedrock_converse
from headgate.llm.dialects.cohere import response as cohere
from headgate.llm.dialects.dialect import ReplyContext
from headgate.llm.dialects.gemini import response as gemini
from headgate.llm.dialects.openai_chat import response as openai_chat
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import PathFacts
from headgate.llm.error_bodies import error_body
from headgate.llm.errors import UpstreamError
from headgate.llm.marks import FINISH_WORDS
from headgate.llm.names import DialectName, HostName
from headgate.llm.planning import OPENAI_API
from headgate.llm.stream_ends import CUT, STREAM_ENDS
from headgate.pb import overlay

EXTPROC_CLUSTER = "headgate-extproc"
MESSAGE_TIMEOUT_SECONDS = 10.0
"""Of the processor, here and in the clusters of backends."""
REQUEST = "envoy.filters.http.json_to_metadata"
ANSWER_HEADERS = "headgate.header_mutation/model"
"""This and `REQUEST` are called as what did their work before: beside Envoy Gateway routes switch filters on by name,
and while Headgate is upgraded the routes of one version meet the listeners of the other."""
USAGE_SCRIPT = "headgate.lua/usage"
COSTS = "headgate.lua/costs"
ROUTER = "headgate.ext_proc/router"
PATH_MODEL = "headgate.lua/path_model"
COUNTER = "headgate.ext_proc/count"
COUNT_TIMEOUT_SECONDS = 5.0
"""A process reads its vocabulary with the first prompt; 1 MB of text takes 0.1 s."""
COST_TRAILERS = "headgate.header_mutation/costs"
TRAILERS = "headgate.bandwidth_limit/trailers"
ERROR_KEY = "error"
ERROR_JSON = "json"
JSON_TYPES = r"(?i)application/([a-z0-9.+-]+\+)?json(\s*;.*)?"
"""The content-types of bodies that are read as JSON (by `request.lua`); so are those without one."""

_SCRIPTED = frozenset((DialectName.BEDROCK_CONVERSE, DialectName.COHERE))
"""Dialects whose answers have a script of their own."""


def request_fields(options: Options, *, max_tokens: bool = False) -> HttpFilter:
    """Model, stream flag and `stream_options.include_usage` into metadata, and the model into the header that routes
    match on; a body that is not JSON is marked.

    The model is published as well: it stands as long as no backend is asked for another one, and where none is asked.
    With `max_tokens` also how long the answer may be, which reservations need.
    """
    message = Lua(default_source_code=script("request", options.lua_directory))
    if max_tokens:
        overlay.lua_filter_context(message, {"length_max": cel.ESTIMATE_MAX})
    return http_filter(REQUEST, message)


def answer_headers() -> HttpFilter:
    """An answer without a request id gets Envoy's: the provider's own must come through, for its support asks for it.

    The header that a cluster writes for scripts goes.
    """
    message = HeaderMutation()
    request_id = add_header_if_absent("x-request-id", "%REQ(X-REQUEST-ID)%")
    message.mutations.response_mutations.add().append.CopyFrom(request_id)
    message.mutations.response_mutations.add(remove=headers.BEGAN)
    return http_filter(ANSWER_HEADERS, message)


def path_model(options: Options) -> HttpFilter:
    """The model of a path that names it. Switched on by path (`replies.path_model_routes`)."""
    return http_filter(PATH_MODEL, _scripts("path_model", options=options), disabled=True)


def path_model_enabled() -> Any:
    """Per-route config that switches `path_model` on."""
    return packed(LuaPerRoute(name="path_model"))


def _router_service(options: Options, *, count_prompt: bool) -> GrpcService:
    facts = RouterFacts(count_prompt=count_prompt, root=options.path_root.rstrip("/"))
    said = literal(msgspec.json.encode(facts).decode())
    return GrpcService(initial_metadata=[HeaderValue(key=headers.GRPC_ROUTER, value=said)])


def router_processor(options: Options) -> HttpFilter:
    """The processor in the listener: reads the model of forms. Switched on by path (`replies.form_routes`)."""
    service = _router_service(options, count_prompt=False)
    service.envoy_grpc.cluster_name = EXTPROC_CLUSTER
    message = ExternalProcessor(
        grpc_service=service,
        processing_mode=ProcessingMode(
            request_header_mode=ProcessingMode.SEND,
            request_body_mode=ProcessingMode.BUFFERED,
            request_trailer_mode=ProcessingMode.SKIP,
            response_header_mode=ProcessingMode.SKIP,
            response_body_mode=ProcessingMode.NONE,
            response_trailer_mode=ProcessingMode.SKIP,
        ),
        message_timeout=duration(MESSAGE_TIMEOUT_SECONDS),
        metadata_options=MetadataOptions(
            receiving_namespaces=MetadataOptions.MetadataNamespaces(untyped=[metadata.NAMESPACE, metadata.INTERNAL])
        ),
    )
    return http_filter(ROUTER, message, disabled=True)


_UNASKED = ProcessingMode(
    request_header_mode=ProcessingMode.SKIP,
    request_body_mode=ProcessingMode.NONE,
    request_trailer_mode=ProcessingMode.SKIP,
    response_header_mode=ProcessingMode.SKIP,
    response_body_mode=ProcessingMode.NONE,
    response_trailer_mode=ProcessingMode.SKIP,
)


def prompt_counter(options: Options) -> HttpFilter:
    """The processor in the listener: counts prompts where a route says so (`counted`). A request whose prompt it cannot
    count goes on without a number."""
    service = _router_service(options, count_prompt=True)
    service.envoy_grpc.cluster_name = EXTPROC_CLUSTER
    message = ExternalProcessor(
        grpc_service=service,
        processing_mode=_UNASKED,
        message_timeout=duration(COUNT_TIMEOUT_SECONDS),
        failure_mode_allow=True,
        metadata_options=MetadataOptions(
            receiving_namespaces=MetadataOptions.MetadataNamespaces(untyped=[metadata.NAMESPACE, metadata.INTERNAL])
        ),
    )
    return http_filter(COUNTER, message)


@lru_cache(maxsize=1)
def counted() -> Any:
    """Per-route config that has prompts counted."""
    mode = ProcessingMode()
    mode.CopyFrom(_UNASKED)
    mode.request_header_mode, mode.request_body_mode = ProcessingMode.SEND, ProcessingMode.BUFFERED
    return packed(ExtProcPerRoute(overrides=ExtProcOverrides(processing_mode=mode)))


def router_enabled() -> Any:
    """Per-route config that switches `router_processor` on."""
    return packed(FilterConfig(config=packed(ExtProcPerRoute(overrides=ExtProcOverrides()))))


def _scripts(*names: str, options: Options) -> Lua:
    """A filter that runs nothing until a route names one of its scripts."""
    return Lua(source_codes={name: script(name, options.lua_directory) for name in names})


def is_computed(cost: ir.Cost) -> bool:
    """Whether a cost is more than one of the counts that are published anyway."""
    return cost.expression not in metadata.USAGE_KEYS


def computes(rule: ir.Rule) -> bool:
    """Whether Envoy has to evaluate costs of the rule."""
    return any(map(is_computed, rule.costs))


def response_filters(options: Options, *, computed: bool) -> Iterator[HttpFilter]:
    """In list order; answers pass them from last to first: read and trimmed, ended by trailers, priced, recorded.

    Where no cost is `computed`, what the script reads is enough.
    """
    if computed:
        yield http_filter(COSTS, _scripts("costs", options=options))
        yield http_filter(COST_TRAILERS, HeaderMutation())
        yield http_filter(TRAILERS, _trailers(BandwidthLimit.DISABLED))
    told = () if options.envoy_gateway else ("model",)
    yield http_filter(USAGE_SCRIPT, _scripts("usage", "dialect_usage", *told, options=options))


_KIB_A_SECOND = 1_000_000_000


def _trailers(mode: BandwidthLimit.EnableMode) -> BandwidthLimit:
    """Trailers at the end of every answer that has a body; its limit is one that nothing reaches."""
    message = BandwidthLimit(stat_prefix="headgate", enable_mode=mode, enable_response_trailers=True)
    message.limit_kbps.value = _KIB_A_SECOND
    return message


_WITH_TRAILERS = packed(_trailers(BandwidthLimit.RESPONSE))


@lru_cache(maxsize=64)
def _page(dialect: DialectName) -> str:
    """What a client is told of a provider that answers with a web page."""
    message = "The provider answered with a web page instead of a model's answer: its address or path may be wrong."
    return error_body(dialect, UpstreamError(message)).decode()


_TEXT: Mapping[DialectName, Sequence[str]] = {
    DialectName.OPENAI_CHAT: ('content":', '"arguments":'),
    DialectName.OPENAI_COMPLETIONS: ('"text":',),
    DialectName.OPENAI_RESPONSES: ('"delta":', '"text":', '"arguments":'),
    DialectName.ANTHROPIC_MESSAGES: ('"text":', '"thinking":', '"partial_json":', '"input":{}'),
    DialectName.GEMINI: ('"text":', '"args":{}'),
    DialectName.BEDROCK_CONVERSE: ('"text":', '"input":', '"input":{}'),
    DialectName.COHERE: ('"text":', '"thinking":', '"tool_plan":', '"arguments":'),
}
"""What stands before what a model writes, but for spaces and a quote; before `{}`, where that is an object. In no other
answer is text counted."""


class _Named(NamedTuple):
    """Where an answer says what it is called and why it ended, as `usage.lua` reads it (`names`)."""

    id: str
    reason: str
    behind: Sequence[str]
    words: Mapping[str, FinishReason]
    called: Sequence[str] = ()
    done: Sequence[str] = ()


_BROKEN_OFF = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.REFUSAL}
_NAMED: Mapping[DialectName, _Named] = {
    DialectName.OPENAI_CHAT: _Named('"id"', '_reason"', ('"finish$',), openai_chat.FINISH_REASONS),
    DialectName.ANTHROPIC_MESSAGES: _Named('"id"', '_reason"', ('"stop$',), anthropic.STOP_REASONS),
    DialectName.OPENAI_RESPONSES: _Named(
        '"id"',
        'reason"',
        ('"incomplete_details"%s*:%s*{%s*"$',),
        _BROKEN_OFF,
        called=('"function_call"', '"custom_tool_call"'),
        done=('"response.completed"', '"completed"'),
    ),
    DialectName.GEMINI: _Named(
        '"responseId"', 'Reason"', ('"finish$', '"block$'), gemini.FINISH_REASONS, called=('"functionCall"',)
    ),
    DialectName.COHERE: _Named('"id"', '_reason"', ('"finish$',), cohere.FINISH_REASONS),
    DialectName.BEDROCK_CONVERSE: _Named("", 'Reason"', ('"stop$',), bedrock_converse.STOP_REASONS),
}
"""Of the dialects of chats."""


def _names(dialect: DialectName) -> dict[str, lua.Value] | None:
    if (found := _NAMED.get(dialect)) is None:
        return None
    told = {key: value for key, value in found._asdict().items() if value}
    return {**told, "words": [[word, FINISH_WORDS[reason]] for word, reason in found.words.items()]}


@lru_cache(maxsize=64)
def _cut(dialect: DialectName) -> bytes:
    """How a stream ends for a client whose provider did not end it."""
    context = ReplyContext(model="", created=0, path=PathFacts(stream=True, query="alt=sse"))
    return DIALECTS[dialect].stream_encoder(context).fail(CUT)


_OPENAI_CHATS = (DialectName.OPENAI_CHAT, DialectName.OPENAI_COMPLETIONS, DialectName.OPENAI_RESPONSES)


def _spoken(dialect: DialectName) -> Sequence[DialectName]:
    """The dialects of a class of paths: one may serve all of OpenAI's."""
    return _OPENAI_CHATS if dialect is DialectName.OPENAI_CHAT else (dialect,)


def _chats(dialect: DialectName, *, before: bytes) -> Sequence[Sequence[str | bytes]]:
    """The streams of a class of paths, as the scripts tell them. `before` is what stands before an event, as half of
    one may have come."""
    spoken = _spoken(dialect)
    return [[STREAM_ENDS[each].begins, before + _cut(each), *STREAM_ENDS[each].ends] for each in spoken]


_CHATS = frozenset(
    ("chat", "openai", "messages", "responses", "gemini", "gemini-stream", "cohere-chat", "converse", "converse-stream")
)


def _serialised(config: Any) -> bytes:
    return config.SerializeToString(deterministic=True)


_UNREAD = _serialised(packed(LuaPerRoute(disabled=True)))


@lru_cache(maxsize=4096)
def _usage_script(
    name: str,
    costs: tuple[ir.Cost, ...],
    dialect: DialectName,
    *,
    hides: bool,
    text: DialectName | None,
    streams: DialectName | None,
    processed: bool,
    tells: bool = False,
    traced: bool = False,
) -> bytes:
    """Per-route config of the script, serialised."""
    context: dict[str, lua.Value] = {"tells": True} if tells else {}
    if text is not None:
        context["text"] = _TEXT[text]
    if streams is not None:
        context["chats"] = _chats(streams, before=b"\n\n" if name == "usage" else b"")
        if text is not None and len(spoken := _spoken(streams)) > 1:
            context["texts"] = [_TEXT[each] for each in spoken]
    if name == "usage":
        context["page"] = _page(dialect)
    if processed:
        context["processed"] = True
    if traced and (named := text or streams) is not None and (names := _names(named)):
        context["names"] = names
    if counts := [(cost.key, cost.expression) for cost in costs if not is_computed(cost)]:
        context["costs"] = counts
    if hides:
        context["hides"] = True
    return _serialised(packed(LuaPerRoute(name=name, filter_context=struct(told(context)))))


def tells(rule: ir.Rule, path_class: PathClass, options: Options) -> bool:
    """Whether the processor, or the script of such routes, knows all that is published of an answer but for what the
    route itself says, so that the two are a line of the access log (`telemetry.short_line`)."""
    if not options.short_lines or not rule.backends or not published.by_route(backend := rule.backends[0], options):
        return False
    if lane_of(path_class, backend) is Lane.EXTPROC:
        return published.as_text(backend, options)
    known = all(map(ir.model_of, rule.matches)) and not rule.counts_prompts
    # the path is the client's but for what it begins with
    kept = backend.host is HostName.DIRECT and not path_class.model_in_path
    read = not {path_class.dialect, backend.dialect} & _SCRIPTED
    keys = [cost.key for cost in rule.costs]
    taken = (*metadata.USAGE_KEYS, *metadata.APART_KEYS)
    named = all(telemetry.is_plain(key) and key not in taken for key in keys)
    return known and kept and read and named and not computes(rule)


def reading(rule: ir.Rule, path_class: PathClass, options: Options, *, processor_alone: bool) -> bytes:
    """How the answers of one class of paths are read: per-route config of the script, serialised.

    `processor_alone`: it translates, and so counts, every answer here. Only costs need it counted once more.
    """
    if processor_alone and not rule.costs:
        return _UNREAD
    dialect = path_class.dialect or DialectName.OPENAI_CHAT
    text = dialect if path_class.name in _CHATS and not processor_alone else None  # which estimates by itself
    streams = dialect if path_class.name == "cohere" and not processor_alone else text  # more than chats below one path
    processed = any(lane_of(path_class, backend) is Lane.EXTPROC for backend in rule.backends)
    if dialect in _SCRIPTED:
        return _usage_script(
            "dialect_usage",
            rule.costs,
            dialect,
            hides=False,
            text=text,
            streams=streams,
            processed=processed,
            traced=options.tracing is not None,
        )
    chats = path_class.name in ("chat", "openai")
    hides = chats and any(backend.include_usage for backend in rule.backends)
    spoken = DialectName.OPENAI_CHAT if dialect in OPENAI_API else dialect
    told = not processed and tells(rule, path_class, options)
    return _usage_script(
        "usage",
        rule.costs,
        spoken,
        hides=hides,
        text=text,
        streams=streams,
        processed=processed,
        tells=told,
        traced=options.tracing is not None,
    )


@remembered
def _costs(rule: ir.Rule) -> tuple[Any, Any]:
    keys = [cost.key for cost in rule.costs]
    trailers = HeaderMutationPerRoute()
    for index, key in enumerate(keys, start=1):
        value = cel.formatted(limits.cost_expression(key, rule))
        option = set_header(f"x-headgate-cost-{index}", value)
        trailers.mutations.response_trailers_mutations.add().append.CopyFrom(option)
    return packed(LuaPerRoute(name="costs", filter_context=struct({"keys": keys}))), packed(trailers)


def shared_costs(rules: Iterable[ir.Rule]) -> tuple[tuple[str, Any], ...]:
    """The cost configs of a virtual host whose rules all price alike; empty where they do not.

    With many routes this is most of what a route would weigh, and so most of what a change must send.
    """
    found: tuple[Any, Any] | None = None
    for rule in rules:
        if not computes(rule):
            return ()
        own = _costs(rule)
        if found is not None and own != found:
            return ()
        found = own
    return ((COSTS, found[0]), (COST_TRAILERS, found[1])) if found is not None else ()


def told_of_models(path: str, models: str, *, words: str) -> Any:
    """Per-route config that answers for each model below a path; `models` and `words` as `model.lua` reads them."""
    context = {"path": path, "models": models, "words": words}
    return packed(LuaPerRoute(name="model", filter_context=struct(context)))


def shared_usage(rules: Iterable[ir.Rule], options: Options) -> bytes:
    """How a virtual host's answers are read where a route does not say otherwise: as most rules' chats are, if any."""
    found = Counter(_chats_read(rule, options) for rule in rules if rule.ai)
    return max(sorted(found), key=found.__getitem__, default=b"")


@remembered
def _chats_read(rule: ir.Rule, options: Options) -> bytes:
    return reading(rule, CLASSES[0], options, processor_alone=False)


def may_lack_costs(rule: ir.Rule, path_class: PathClass) -> bool:
    """Whether a stream that its client left may lack costs: those computed, and all where the processor counts."""
    return computes(rule) or any(lane_of(path_class, backend) is Lane.EXTPROC for backend in rule.backends)


def as_text(rule: ir.Rule) -> str:
    """The rule's costs for the collector, which computes what a stream that its client left could not tell."""
    return json.dumps([[cost.key, cost.expression] for cost in rule.costs], separators=(",", ":"))


def cost_configs(rule: ir.Rule, *, priced_by_host: bool) -> Iterator[tuple[str, Any]]:
    """Per-route config of the filters that compute costs, where the rule has any that are."""
    if computes(rule):
        yield TRAILERS, _WITH_TRAILERS
        if not priced_by_host:
            script_config, trailers = _costs(rule)
            yield COSTS, script_config
            yield COST_TRAILERS, trailers
