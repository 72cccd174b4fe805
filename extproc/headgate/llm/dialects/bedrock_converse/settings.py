"""Everything of a request but its turns: limits, sampling, tools, reasoning, output format, as a model behind Converse
takes them.

Claude's parameters exclude each other in the same ways wherever it is served, so its rules are those of the Anthropic
dialect; what Converse has no member for goes into `additionalModelRequestFields`.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from headgate.llm.canonical import (
    CachePoint,
    ChatRequest,
    FunctionTool,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
    tool_path,
)
from headgate.llm.capabilities import ConverseFacts, claude_facts, converse_facts
from headgate.llm.dialects.anthropic import settings as claude
from headgate.llm.dialects.anthropic import wire as claude_wire
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.tool_names import taken_name
from headgate.llm.dialects.unsaid import report_sampling
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName

STOP_SEQUENCE_PATH: Final = "/stop_sequence"
"""Where Claude's own answer names the stop sequence; Converse alone does not tell which it was."""

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

_NAME_CHARACTERS_MAX: Final = 64


class ToolNames:
    """Names of tools as the service takes them, and the way back."""

    __slots__ = ("renamed",)

    def __init__(self) -> None:
        self.renamed: dict[str, str] = {}
        """The provider's name to the client's, where they differ."""

    def encode(self, name: str) -> str:
        """The name to send; the same for the same name, whatever else is called."""
        sent = taken_name(name, _NAME_CHARACTERS_MAX)
        if sent != name:
            self.renamed[sent] = name
        return sent


class Settings(msgspec.Struct, gc=False):
    """The members of a wire request that are not turns."""

    tools: list[wire.Tool] = []
    tool_choice: wire.ToolChoice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = []
    fields: dict[str, Any] = {}
    """`additionalModelRequestFields`."""
    response_paths: list[str] | None = None
    output: wire.OutputConfig | None = None
    service_tier: wire.ServiceTier | None = None
    json_tool: str = ""

    def inference(self) -> wire.InferenceConfig | None:
        config = wire.InferenceConfig(self.max_tokens, self.temperature, self.top_p, self.stop or None)
        return None if config == _NO_INFERENCE else config

    def tool_config(self) -> wire.ToolConfig | None:
        return wire.ToolConfig(self.tools, self.tool_choice) if self.tools else None


_NO_INFERENCE: Final = wire.InferenceConfig()


def encode_settings(
    request: ChatRequest,
    target: Target,
    losses: list[Loss],
    *,
    names: ToolNames,
    calls: Collection[str],
    unsigned_loop: bool,
) -> Settings:
    """The settings for a model. `calls`: tools the history calls; `unsigned_loop`: its tool loop has no signed
    thinking."""
    facts = converse_facts(target.model, target.models)
    settings = Settings()
    if facts.claude:
        _encode_for_claude(request, target, settings, losses, (names, facts, unsigned_loop))
    else:
        _encode_for_others(request, target, settings, losses, (names, facts))
    if calls and not settings.tools:
        settings.tools = [_tool(names.encode(name), claude.ANY_OBJECT) for name in calls]
        settings.tool_choice = None
        losses.append(Loss("tools", "emulated", "the tools that the history calls are declared: the service insists"))
    if request.tool_choice is not None and request.tool_choice.mode == "none":
        _forbid_tools(settings, losses, needed=bool(calls))
    _encode_service_tier(request, settings, losses)
    if request.user:
        losses.append(Loss("user", "dropped", _UNKNOWN))
    return settings


# --- Claude ----------------------------------------------------------------------------------------------------------


def _encode_for_claude(
    request: ChatRequest,
    target: Target,
    settings: Settings,
    losses: list[Loss],
    known: tuple[ToolNames, ConverseFacts, bool],
) -> None:
    names, facts, unsigned_loop = known
    asked, wanted = msgspec.structs.replace(request, service_tier=""), request.response_format
    if wanted is not None and claude_facts(target.model, target.models).structured_output:
        # A description has its own place here: it need not go into the schema.
        asked = msgspec.structs.replace(asked, response_format=msgspec.structs.replace(wanted, description=""))
    taken = claude.encode_settings(asked, target, losses, calls=(), unsigned_loop=unsigned_loop)
    for tool in taken.tools:
        cache = None if tool.cache_control is None else CachePoint(tool.cache_control.ttl or "")
        name = names.encode(taken.tool_names.get(tool.name, tool.name))
        _add_tool(settings, _tool(name, tool.input_schema, tool.description, tool.strict), cache, facts, losses)
    settings.tool_choice = _claude_choice(taken.tool_choice, request, names, losses)
    settings.json_tool = taken.json_tool
    settings.temperature, settings.top_p, settings.stop = taken.temperature, taken.top_p, taken.stop
    if taken.top_k is not None:
        settings.fields["top_k"] = taken.top_k
    budgeted = taken.thinking is not None and taken.thinking.budget_tokens is not None
    settings.max_tokens = taken.max_tokens if request.max_tokens is not None or budgeted else None
    if taken.thinking is not None:
        settings.fields["thinking"] = taken.thinking
    if taken.output_config is not None:
        if taken.output_config.effort:
            settings.fields["output_config"] = claude_wire.OutputConfig(taken.output_config.effort)
        if taken.output_config.format is not None:
            settings.output = _text_format(wanted, taken.output_config.format.schema)
    if settings.stop:
        settings.response_paths = [STOP_SEQUENCE_PATH]
    own = request.extras.get(DialectName.ANTHROPIC_MESSAGES, ())
    losses.extend(Loss(name, "dropped", _UNKNOWN) for name in own)


def _claude_choice(
    choice: claude_wire.ToolChoice | None, request: ChatRequest, names: ToolNames, losses: list[Loss]
) -> wire.ToolChoice | None:
    if request.parallel_tool_calls is False and choice is not None:
        losses.append(Loss("parallel_tool_calls", "dropped", _UNKNOWN))
    match choice:
        case claude_wire.AnyChoice():
            return wire.ToolChoice(any=wire.NoMembers())
        case claude_wire.NamedChoice() if request.tool_choice is not None and request.tool_choice.name:
            return wire.ToolChoice(tool=wire.ToolName(names.encode(request.tool_choice.name)))
        case claude_wire.NamedChoice(name=name):
            return wire.ToolChoice(tool=wire.ToolName(name))
        case claude_wire.AutoChoice() if request.tool_choice is not None:
            return wire.ToolChoice(auto=wire.NoMembers())
        case _:
            return None


# --- the others ------------------------------------------------------------------------------------------------------


def _encode_for_others(
    request: ChatRequest,
    target: Target,
    settings: Settings,
    losses: list[Loss],
    known: tuple[ToolNames, ConverseFacts],
) -> None:
    names, facts = known
    _encode_tools(request, settings, losses, names, facts)
    _encode_output_format(request, target, settings, losses, facts)
    settings.max_tokens = request.max_tokens
    settings.stop = [text for text in request.stop if text]
    _encode_sampling(request.sampling, settings, losses, facts)
    _encode_effort(request, settings, losses, facts)
    if facts.unlimited_high_effort and settings.fields.get("reasoningConfig", {}).get("maxReasoningEffort") == "high":
        _lift_limits(settings, losses)
    _report_unsayable(request, losses)


def _encode_tools(
    request: ChatRequest, settings: Settings, losses: list[Loss], names: ToolNames, facts: ConverseFacts
) -> None:
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None else ()
    if allowed:
        losses.append(Loss("tool_choice", "emulated", "only the allowed tools are sent"))
    for i, tool in enumerate(request.tools):
        if isinstance(tool, FunctionTool) and (not allowed or tool.name in allowed):
            schema = tool.parameters or claude.ANY_OBJECT
            encoded = _tool(names.encode(tool.name), schema, tool.description or None, True if tool.strict else None)
            _add_tool(settings, encoded, tool.cache, facts, losses)
        elif not isinstance(tool, FunctionTool):
            losses.append(Loss(tool_path(tool, i), "dropped", f"{_kind_of(tool)} is no tool of this dialect"))
    if request.parallel_tool_calls is False and settings.tools:
        losses.append(Loss("parallel_tool_calls", "dropped", _UNKNOWN))
    if choice is not None:
        settings.tool_choice = _encode_choice(choice, settings, losses, names, facts)


def _kind_of(tool: Tool) -> str:
    return getattr(tool, "kind", "web search")


def _encode_choice(
    choice: ToolChoice, settings: Settings, losses: list[Loss], names: ToolNames, facts: ConverseFacts
) -> wire.ToolChoice | None:
    wanted = {"required": "any", "named": "tool"}.get(choice.mode, "")
    if not settings.tools:
        if wanted:
            losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))
        return None
    if wanted and wanted not in facts.tool_choices:
        losses.append(Loss("tool_choice", "dropped", "this model chooses its tools itself"))
        return None
    match choice.mode:
        case "auto":
            return wire.ToolChoice(auto=wire.NoMembers())
        case "required":
            return wire.ToolChoice(any=wire.NoMembers())
        case "named":
            return wire.ToolChoice(tool=wire.ToolName(names.encode(choice.name)))
        case "none":
            return None


def _encode_output_format(
    request: ChatRequest, target: Target, settings: Settings, losses: list[Loss], facts: ConverseFacts
) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if facts.structured_output and wanted.kind == "json_schema" and wanted.schema is not None:
        settings.output = _text_format(wanted, wanted.schema)
        return
    if target.losses == "emulate" and not settings.tools and "tool" in facts.tool_choices:
        schema = wanted.schema or claude.ANY_OBJECT
        settings.tools = [_tool(claude.JSON_TOOL, schema, claude.json_description(wanted))]
        settings.tool_choice = wire.ToolChoice(tool=wire.ToolName(claude.JSON_TOOL))
        settings.json_tool = claude.JSON_TOOL
        losses.append(Loss("response_format", "emulated", "asked for as the arguments of a forced tool"))
        return
    what = "a JSON schema" if wanted.kind == "json_schema" else "JSON without a schema"
    losses.append(Loss("response_format", "dropped", f"this model cannot be held to {what}"))


def _encode_sampling(sampling: Sampling, settings: Settings, losses: list[Loss], facts: ConverseFacts) -> None:
    settings.temperature, settings.top_p = sampling.temperature, sampling.top_p
    if settings.temperature is not None and settings.temperature > 1.0:
        losses.append(Loss("temperature", "changed", "1 is the highest temperature of this dialect"))
        settings.temperature = 1.0
    if sampling.top_k is None:
        return
    if not facts.top_k:
        losses.append(Loss("top_k", "dropped", "unknown to this model"))
        return
    *outer, last = facts.top_k
    value: dict[str, Any] = {last: sampling.top_k}
    for name in reversed(outer):
        value = {name: value}
    settings.fields.update(value)


_EFFORTS: Final[Mapping[str, str]] = MappingProxyType(
    {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
)


def _encode_effort(request: ChatRequest, settings: Settings, losses: list[Loss], facts: ConverseFacts) -> None:
    reasoning = request.reasoning
    if reasoning is None or reasoning.mode == "disabled" or reasoning.effort == "none":
        return
    if not facts.effort:
        losses.append(Loss("reasoning_effort", "dropped", "how much this model thinks cannot be told"))
        return
    wanted = reasoning.effort
    if not wanted:
        budget = reasoning.budget_tokens
        wanted = "medium" if budget is None else claude.effort_of_budget(budget)
        losses.append(Loss("thinking", "changed", f"becomes the effort {_EFFORTS[wanted]}"))
    elif _EFFORTS.get(wanted) != wanted:
        losses.append(Loss("reasoning_effort", "changed", f"this model takes it as {_EFFORTS.get(wanted, 'medium')}"))
    effort = _EFFORTS.get(wanted, "medium")
    if facts.effort == "reasoning_effort":
        settings.fields["reasoning_effort"] = effort
    else:
        settings.fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort}


def _lift_limits(settings: Settings, losses: list[Loss]) -> None:
    for name in ("max_tokens", "temperature", "top_p"):
        if getattr(settings, name) is not None:
            losses.append(Loss(name, "dropped", "this model takes none at the effort high"))
            setattr(settings, name, None)


def _report_unsayable(request: ChatRequest, losses: list[Loss]) -> None:
    report_sampling(request.sampling, losses, _UNKNOWN)
    for members in request.extras.values():
        losses.extend(Loss(name, "dropped", _UNKNOWN) for name in members)


_UNKNOWN: Final = "unknown to this dialect"


# --- for all of them -------------------------------------------------------------------------------------------------


def _tool(name: str, schema: msgspec.Raw, description: str | None = None, strict: bool | None = None) -> wire.Tool:
    if "type" not in _OBJECT.decode(schema):
        schema = msgspec.Raw(msgspec.json.encode({"type": "object", **_OBJECT.decode(schema)}))
    return wire.Tool(wire.ToolSpec(name, wire.InputSchema(schema), description or None, strict))


def _add_tool(
    settings: Settings, tool: wire.Tool, cache: CachePoint | None, facts: ConverseFacts, losses: list[Loss]
) -> None:
    settings.tools.append(tool)
    if cache is None:
        return
    if "tools" in facts.cache_points:
        settings.tools.append(wire.Tool(cache_point=wire.CachePoint("default", cache.ttl or None)))
    else:
        losses.append(Loss("tools", "dropped", "this model takes no cache points on tools"))


def _text_format(wanted: ResponseFormat | None, schema: msgspec.Raw) -> wire.OutputConfig:
    name = wanted.name or None if wanted is not None else None
    description = wanted.description or None if wanted is not None else None
    text = wire.JsonSchema(bytes(schema).decode(), name, description)
    return wire.OutputConfig(wire.TextFormat("json_schema", wire.Structure(text)))


def _forbid_tools(settings: Settings, losses: list[Loss], *, needed: bool) -> None:
    """Converse has no such choice: without tools none can be called, but a history of calls must have them declared."""
    if not settings.tools:
        return
    settings.tool_choice = None
    if needed:
        losses.append(Loss("tool_choice", "dropped", "this dialect cannot forbid the tools that the history calls"))
        return
    settings.tools = []
    losses.append(Loss("tool_choice", "emulated", "no tools are sent, since none may be called"))


_SERVICE_TIERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "auto": "",
        "default": "default",
        "standard_only": "default",
        "flex": "flex",
        "priority": "priority",
        "fast": "priority",
        "reserved": "reserved",
    }
)


def _encode_service_tier(request: ChatRequest, settings: Settings, losses: list[Loss]) -> None:
    if not request.service_tier:
        return
    tier = _SERVICE_TIERS.get(request.service_tier)
    if tier is None:
        losses.append(Loss("service_tier", "dropped", f"{request.service_tier} is unknown to this dialect"))
    elif tier:
        settings.service_tier = wire.ServiceTier(tier)
