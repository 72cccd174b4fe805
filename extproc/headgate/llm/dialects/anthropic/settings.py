"""Everything of a request but its turns: tools, limits, sampling, reasoning, output format, as a Claude model takes
them.

The rules between parameters (thinking excludes forced tools, a temperature, a budget above the limit…) are kept here,
so that a request another API takes is not refused for a combination its client never chose. What gives way is a loss.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from headgate.llm.canonical import (
    ChatRequest,
    FunctionTool,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolChoice,
    WebSearchTool,
    tool_path,
)
from headgate.llm.capabilities import EFFORT_BUDGETS, ClaudeFacts, claude_facts
from headgate.llm.dialects.anthropic import wire
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.schema_description import described_schema
from headgate.llm.dialects.tool_names import taken_name
from headgate.llm.dialects.unsaid import report_sampling
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName

BUDGET_TOKENS_MIN: Final = 1_024
"""The API refuses smaller thinking budgets."""

EFFORT_FALLBACKS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"minimal": ("low",), "xhigh": ("xhigh", "max", "high"), "max": ("max", "xhigh", "high")}
)
"""What an effort becomes where the model does not know the word; the first that it knows."""

TOOL_NAME_CHARACTERS_MAX: Final = 128

JSON_TOOL: Final = "json_response"
"""The forced tool whose arguments are the answer, where structured output is emulated."""

ANY_OBJECT: Final = msgspec.Raw(b'{"type":"object","properties":{}}')


def provider_name(name: str) -> str:
    """A tool's name as the API takes it."""
    return taken_name(name, TOOL_NAME_CHARACTERS_MAX)


@dataclass(slots=True)
class Settings:
    """The members of a wire request that are not turns."""

    max_tokens: int
    tools: list[wire.Tool] = field(default_factory=list[wire.Tool])
    tool_choice: wire.ToolChoice | None = None
    stop: list[str] = field(default_factory=list[str])
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: wire.Thinking | None = None
    output_config: wire.OutputConfig | None = None
    service_tier: str | None = None
    json_tool: str = ""
    tool_names: dict[str, str] = field(default_factory=dict[str, str])
    """Of tools whose name is not taken: the name sent to the client's."""


def reasoning_of(thinking: wire.Thinking | None, output: wire.OutputConfig | None) -> Reasoning | None:
    """What a Messages client says of thinking, in one value."""
    effort = (output.effort or "") if output is not None else ""
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    mode: Literal["enabled", "disabled", "adaptive"] = "adaptive" if thinking.type == "between_tools" else thinking.type
    return Reasoning(mode, thinking.budget_tokens, effort, thinking.display or "")


def encode_settings(
    request: ChatRequest, target: Target, losses: list[Loss], *, calls: Collection[str], unsigned_loop: bool
) -> Settings:
    """The settings for a model. `calls`: tools the history calls; `unsigned_loop`: its tool loop has no signed
    thinking."""
    facts = claude_facts(target.model, target.models)
    settings = Settings(max_tokens=request.max_tokens or facts.max_tokens_default)
    _encode_tools(request, facts, target, settings, losses)
    _encode_tool_choice(request, facts, settings, losses)
    _encode_output_format(request, facts, target, settings, losses)
    if calls and not settings.tools:
        _declare_called_tools(calls, settings, losses)
    _encode_reasoning(request, facts, settings, losses, unsigned_loop=unsigned_loop)
    _encode_sampling(request, facts, settings, losses)
    _encode_stop(request, settings, losses)
    _encode_service_tier(request, settings, losses)
    _report_unsayable(request, losses)
    return settings


# --- tools -----------------------------------------------------------------------------------------------------------


def _encode_tools(
    request: ChatRequest, facts: ClaudeFacts, target: Target, settings: Settings, losses: list[Loss]
) -> None:
    allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
    if allowed:
        losses.append(Loss("tool_choice", "emulated", "only the allowed tools are sent"))
    for i, tool in enumerate(request.tools):
        if allowed and _name_of(tool) not in allowed:
            continue
        encoded = _encode_tool(tool, tool_path(tool, i), (facts, target.host), losses)
        if encoded is not None:
            settings.tools.append(encoded)
        if isinstance(tool, FunctionTool) and provider_name(tool.name) != tool.name:
            settings.tool_names[provider_name(tool.name)] = tool.name
            losses.append(Loss(f"{tool_path(tool, i)}.name", "emulated", "the name is not taken: called by a digest"))


def _name_of(tool: Tool) -> str:
    match tool:
        case FunctionTool(name=name):
            return name
        case WebSearchTool():
            return WEB_SEARCH
        case OpaqueTool(kind=kind):
            return kind


WEB_SEARCH: Final = "web_search"
_WEB_SEARCH_TYPE: Final = "web_search_20250305"
"""The version that every host and model with a search knows."""


def _encode_tool(tool: Tool, path: str, known: tuple[ClaudeFacts, HostName], losses: list[Loss]) -> wire.Tool | None:
    facts, host = known
    match tool:
        case FunctionTool():
            strict = True if tool.strict else None
            if strict and not facts.structured_output:
                losses.append(Loss(f"{path}.strict", "dropped", "this model takes no strict tools"))
                strict = None
            cache = None if tool.cache is None else wire.CacheControl("ephemeral", tool.cache.ttl or None)
            return wire.Tool(
                name=provider_name(tool.name),
                description=tool.description or None,
                input_schema=_object_schema(tool.parameters),
                strict=strict,
                cache_control=cache,
            )
        case WebSearchTool():
            if facts.web_search and host is not HostName.BEDROCK:
                return _encode_search(tool, path, losses)
            losses.append(Loss(path, "dropped", "this model, where it is hosted, does not search the web"))
            return None
        case OpaqueTool():
            losses.append(Loss(path, "dropped", f"{tool.kind} is a tool of {tool.dialect} only"))
            return None


def _encode_search(tool: WebSearchTool, path: str, losses: list[Loss]) -> wire.Tool:
    if tool.context_size:
        losses.append(Loss(path, "changed", "this dialect's search knows no context size"))
    blocked = tool.blocked_domains
    if tool.allowed_domains and blocked:
        losses.append(Loss(path, "changed", "this dialect takes domains that are allowed or blocked, not both"))
        blocked = ()
    where = tool.location
    location = None
    if where is not None:
        place = (where.city or None, where.region or None, where.country or None, where.timezone or None)
        location = wire.UserLocation("approximate", *place) if any(place) else None
    return wire.Tool(
        name=WEB_SEARCH,
        type=_WEB_SEARCH_TYPE,
        max_uses=tool.uses_max,
        allowed_domains=list(tool.allowed_domains) or None,
        blocked_domains=list(blocked) or None,
        user_location=location,
    )


def _object_schema(schema: msgspec.Raw | None) -> msgspec.Raw:
    """The schema as it was sent; the API insists on `type: object`, which other APIs take as read."""
    if schema is None:
        return ANY_OBJECT
    members = _MEMBERS.decode(schema)
    if "type" in members:
        return schema
    return msgspec.Raw(msgspec.json.encode({"type": "object", **members}))


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _encode_tool_choice(request: ChatRequest, facts: ClaudeFacts, settings: Settings, losses: list[Loss]) -> None:
    if not settings.tools:
        if request.tool_choice is not None and request.tool_choice.mode in ("required", "named"):
            losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))
        return
    one_at_a_time = True if request.parallel_tool_calls is False else None
    choice = request.tool_choice or ToolChoice("auto")
    if choice.mode in ("required", "named") and not facts.forced_tools:
        losses.append(Loss("tool_choice", "dropped", "this model decides itself whether it calls"))
        choice = ToolChoice("auto")
    match choice.mode:
        case "auto":
            if one_at_a_time or request.tool_choice is not None:
                settings.tool_choice = wire.AutoChoice(one_at_a_time)
        case "required":
            settings.tool_choice = wire.AnyChoice(one_at_a_time)
        case "named" if all(tool.name != provider_name(choice.name) for tool in settings.tools):
            losses.append(Loss("tool_choice", "dropped", "the tool it names cannot be offered here"))
        case "named":
            settings.tool_choice = wire.NamedChoice(provider_name(choice.name), one_at_a_time)
        case "none":
            settings.tool_choice = wire.NoChoice()


def _declare_called_tools(calls: Collection[str], settings: Settings, losses: list[Loss]) -> None:
    # "Requests which include `tool_use` or `tool_result` blocks must define tools": other APIs do not ask for it.
    settings.tools = [wire.Tool(name=provider_name(name), input_schema=ANY_OBJECT) for name in calls]
    settings.tool_choice = wire.NoChoice()
    losses.append(Loss("tools", "emulated", "the tools that the history calls are declared, and none may be called"))


# --- output ----------------------------------------------------------------------------------------------------------


def _encode_output_format(
    request: ChatRequest, facts: ClaudeFacts, target: Target, settings: Settings, losses: list[Loss]
) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and facts.structured_output and wanted.schema is not None:
        schema = described_schema(wanted, losses) or wanted.schema
        settings.output_config = wire.OutputConfig(format=wire.OutputFormat("json_schema", schema))
        return
    if target.losses == "emulate" and not settings.tools and facts.forced_tools:
        schema = _object_schema(wanted.schema)
        settings.tools = [wire.Tool(name=JSON_TOOL, description=json_description(wanted), input_schema=schema)]
        settings.tool_choice = wire.NamedChoice(JSON_TOOL, True)
        settings.json_tool = JSON_TOOL
        losses.append(Loss("response_format", "emulated", "asked for as the arguments of a forced tool"))
        return
    what = "a JSON schema" if wanted.kind == "json_schema" else "JSON without a schema"
    losses.append(Loss("response_format", "dropped", f"this model cannot be held to {what}"))


def json_description(wanted: ResponseFormat) -> str:
    """What the model is told of the forced tool that stands for an answer in JSON."""
    named = f" ({wanted.name})" if wanted.name else ""
    described = f" {wanted.description}" if wanted.description else ""
    return f"Give the answer{named} as the arguments of this tool.{described}"


# --- reasoning -------------------------------------------------------------------------------------------------------


def _encode_reasoning(
    request: ChatRequest, facts: ClaudeFacts, settings: Settings, losses: list[Loss], *, unsigned_loop: bool
) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    if reasoning.mode == "disabled" or (not reasoning.mode and reasoning.effort == "none"):
        if not facts.thinking_off:
            losses.append(Loss(_PATH, "dropped", "this model always thinks"))
        elif reasoning.mode == "disabled" or facts.thinks_by_default:
            settings.thinking = wire.Thinking(facts.thinking_off)
            if facts.thinking_off != "disabled":
                losses.append(Loss(_PATH, "changed", "this model thinks between its calls at least"))
        return
    effort = _known_effort(reasoning, facts, losses)
    if effort:
        output_format = settings.output_config.format if settings.output_config is not None else None
        settings.output_config = wire.OutputConfig(effort, output_format)
    if isinstance(settings.tool_choice, wire.AnyChoice | wire.NamedChoice):
        losses.append(Loss(_PATH, "dropped", "a tool is forced, which excludes thinking"))
        return
    manual = facts.manual_thinking and (reasoning.budget_tokens is not None or not facts.adaptive_thinking)
    if not manual and facts.adaptive_thinking:
        if reasoning.mode == "enabled":
            losses.append(Loss("thinking", "changed", "this model chooses its thinking budget itself"))
        # An effort in another dialect's words asks for reasoning the client can see, as its own providers show it.
        shown = "summarized" if facts.thinking_omitted and not reasoning.mode else None
        settings.thinking = wire.Thinking("adaptive", display=reasoning.display or shown)
    elif manual:
        _encode_budget(request, reasoning, settings, losses, unsigned_loop=unsigned_loop)
    elif not effort:
        losses.append(Loss(_PATH, "dropped", "this model does not think"))


_PATH: Final = "reasoning_effort"


def _encode_budget(
    request: ChatRequest, reasoning: Reasoning, settings: Settings, losses: list[Loss], *, unsigned_loop: bool
) -> None:
    if unsigned_loop:
        losses.append(Loss(_PATH, "dropped", "the history's tool call comes without the thinking that led to it"))
        return
    budget = reasoning.budget_tokens
    if budget is None:
        effort = reasoning.effort or "medium"
        budget = min(EFFORT_BUDGETS.get(effort, EFFORT_BUDGETS["medium"]), settings.max_tokens // 2)
        budget = max(budget, BUDGET_TOKENS_MIN)
        losses.append(Loss(_PATH, "changed", f"becomes a budget of {budget} thinking tokens"))
    if budget >= settings.max_tokens and request.max_tokens is None:
        settings.max_tokens += budget
    if budget >= settings.max_tokens:
        budget = settings.max_tokens - 1
    if budget < BUDGET_TOKENS_MIN:
        losses.append(Loss(_PATH, "dropped", "max_tokens leaves no room for thinking"))
        return
    settings.thinking = wire.Thinking("enabled", budget, reasoning.display or None)


def _known_effort(reasoning: Reasoning, facts: ClaudeFacts, losses: list[Loss]) -> str:
    """The effort in words that the model knows; empty where it knows none or none was asked for."""
    if not facts.effort:
        return ""
    wanted = reasoning.effort
    if not wanted and reasoning.budget_tokens is not None and not facts.manual_thinking:
        wanted = effort_of_budget(reasoning.budget_tokens)
    if not wanted or wanted == "none":
        return ""
    if wanted in facts.efforts:
        return wanted
    known = next((word for word in EFFORT_FALLBACKS.get(wanted, ()) if word in facts.efforts), "")
    said = f"this model takes it as {known}" if known else "this model does not know this effort"
    losses.append(Loss(_PATH, "changed" if known else "dropped", said))
    return known


def effort_of_budget(budget: int) -> str:
    """The effort whose budget is the first that holds this one."""
    return next((word for word, tokens in EFFORT_BUDGETS.items() if word != "minimal" and budget <= tokens), "max")


# --- the rest --------------------------------------------------------------------------------------------------------


def _encode_sampling(request: ChatRequest, facts: ClaudeFacts, settings: Settings, losses: list[Loss]) -> None:
    sampling = request.sampling
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    thinking = settings.thinking is not None and settings.thinking.type != "disabled"
    if thinking or not facts.sampling:
        reason = "thinking excludes it" if thinking else "this model takes no sampling parameters"
        if temperature not in (None, 1.0):
            losses.append(Loss("temperature", "dropped", reason))
        if top_p is not None and top_p < (TOP_P_WITH_THINKING_MIN if facts.sampling else 1.0):
            losses.append(Loss("top_p", "dropped", reason))
        if top_k is not None:
            losses.append(Loss("top_k", "dropped", reason))
        return
    if temperature is not None and temperature > 1.0:
        losses.append(Loss("temperature", "changed", "1 is the highest temperature of this dialect"))
        temperature = 1.0
    if temperature is not None and top_p is not None and facts.one_of_temperature_and_top_p:
        if top_p < 1.0:
            losses.append(Loss("top_p", "dropped", "this model takes temperature or top_p, not both"))
        top_p = None
    settings.temperature, settings.top_p, settings.top_k = temperature, top_p, top_k


TOP_P_WITH_THINKING_MIN: Final = 0.95
"""With thinking, values from here to 1 are accepted, and so near the default that leaving one out is no loss."""


def _encode_stop(request: ChatRequest, settings: Settings, losses: list[Loss]) -> None:
    if not request.stop:
        return
    settings.stop = [text for text in request.stop if text.strip()]
    if len(settings.stop) != len(request.stop):
        losses.append(Loss("stop", "dropped", "stop sequences of white space are refused by this dialect"))


_SERVICE_TIERS: Final[Mapping[str, str | None]] = MappingProxyType(
    {"": None, "auto": None, "default": "standard_only", "standard_only": "standard_only", "priority": "auto"}
    | {"fast": "auto"}
)


def _encode_service_tier(request: ChatRequest, settings: Settings, losses: list[Loss]) -> None:
    if request.service_tier in _SERVICE_TIERS:
        settings.service_tier = _SERVICE_TIERS[request.service_tier]
    else:
        losses.append(Loss("service_tier", "dropped", f"{request.service_tier} is unknown to this dialect"))


def _report_unsayable(request: ChatRequest, losses: list[Loss]) -> None:
    report_sampling(request.sampling, losses, _UNKNOWN)
    for dialect, members in request.extras.items():
        if dialect is not DialectName.ANTHROPIC_MESSAGES:
            losses.extend(Loss(name, "dropped", _UNKNOWN) for name in members)


_UNKNOWN: Final = "unknown to this dialect"
