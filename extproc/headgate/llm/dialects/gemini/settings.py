"""Everything of a request but its turns: tools, limits, sampling, thinking, output format, as Gemini takes them.

What the target model takes is looked up in `capabilities`; what it does not take is a loss.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import msgspec
from headgate.llm.canonical import (
    ChatRequest,
    FunctionTool,
    OpaqueTool,
    ResponseFormat,
    ToolChoice,
    WebSearchTool,
    tool_path,
)
from headgate.llm.capabilities import EFFORT_BUDGETS, GeminiFacts
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.gemini.openai_extensions import Extensions, google_tool, is_google_search
from headgate.llm.dialects.gemini.schema import SchemaError, to_openapi
from headgate.llm.dialects.schema_description import described_schema
from headgate.llm.dialects.speech import gemini_voice
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName

Members = dict[str, Any]
"""Members of a JSON object about to be encoded."""

STOP_MAX: Final = 5
"""Stop sequences taken."""

SEED_MAX: Final = 2**31 - 1

TEMPERATURE_MAX: Final = 2.0

NAME_CHARACTERS_MAX: Final = 64

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*")
_NAME_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_.:-]")


def function_name(name: str) -> str:
    """A function's name as this dialect takes it: one it refuses keeps what it can and gets a digest."""
    if len(name) <= NAME_CHARACTERS_MAX and _NAME.fullmatch(name):
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    kept = _NAME_CHARACTERS.sub("_", name)
    kept = kept if kept[:1].isalpha() or kept[:1] == "_" else f"_{kept}"
    return f"{kept[: NAME_CHARACTERS_MAX - 9]}_{digest}"


# --- tools -----------------------------------------------------------------------------------------------------------


def add_tools(body: Members, request: ChatRequest, facts: GeminiFacts, losses: list[Loss]) -> dict[str, str]:
    """Adds tools and the choice among them; the names that had to change, provider's to client's."""
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None and choice.mode == "auto" else ()
    if allowed:
        losses.append(Loss("tool_choice", "emulated", "only the allowed tools are sent"))
    declarations: list[Members] = []
    provided: list[object] = []
    searches: list[tuple[WebSearchTool, str]] = []
    renamed: dict[str, str] = {}
    for index, tool in enumerate(request.tools):
        path = tool_path(tool, index)
        match tool:
            case FunctionTool():
                if allowed and tool.name not in allowed:
                    continue
                declarations.append(_declaration(tool, path, facts, losses))
                if declarations[-1]["name"] != tool.name:
                    renamed[declarations[-1]["name"]] = tool.name
                    losses.append(Loss(f"{path}.name", "emulated", "this dialect refuses the name: called by a digest"))
            case WebSearchTool():
                searches.append((tool, path))
            case OpaqueTool():
                found = google_tool(tool)
                if found is None:
                    losses.append(Loss(path, "dropped", f"{tool.kind} is a tool of {tool.dialect} only"))
                else:
                    provided.append(found)
    for search, path in searches:
        if declarations and not _is_googles(search):
            losses.append(Loss(path, "dropped", "this dialect searches the web or calls functions, not both"))
        else:
            provided.append(_search(search, path, losses))
    tools: list[object] = [{"functionDeclarations": declarations}] if declarations else []
    if tools or provided:
        body["tools"] = [*tools, *provided]
    _add_tool_choice(body, choice, declarations, losses)
    if request.parallel_tool_calls is False and declarations:
        losses.append(Loss("parallel_tool_calls", "dropped", "this dialect cannot forbid parallel calls"))
    return renamed


def _declaration(tool: FunctionTool, path: str, facts: GeminiFacts, losses: list[Loss]) -> Members:
    declaration: Members = {"name": function_name(tool.name)}
    if tool.description:
        declaration["description"] = tool.description
    if tool.strict:
        losses.append(Loss(f"{path}.strict", "dropped", "this dialect has no strict tools"))
    if tool.parameters is None:
        return declaration
    if facts.json_schema:
        declaration["parametersJsonSchema"] = tool.parameters
    else:
        parameters = _older_schema(tool.parameters, f"{path}.parameters", losses)
        # an object without properties is refused; a function without parameters is not
        if parameters.get("properties") or parameters.get("type") != "object":
            declaration["parameters"] = parameters
    return declaration


def _older_schema(schema: msgspec.Raw, path: str, losses: list[Loss]) -> Members:
    try:
        converted, left_out = to_openapi(schema)
    except SchemaError as error:
        raise RequestError(
            f"{error} (this model takes a subset of JSON schema)", path=path, code="invalid_value"
        ) from None
    if left_out:
        losses.append(Loss(path, "changed", f"this model's schemas have no {', '.join(left_out)[:120]}"))
    return converted


def _is_googles(tool: WebSearchTool) -> bool:
    """Whoever names Google's own search knows what may stand beside it."""
    return tool.dialect is DialectName.OPENAI_CHAT and tool.raw is not None and is_google_search(tool.raw)


def _search(tool: WebSearchTool, path: str, losses: list[Loss]) -> object:
    if tool.dialect is DialectName.GEMINI and tool.raw is not None:
        return tool.raw
    if tool.raw is not None and _is_googles(tool):
        return google_tool(OpaqueTool(DialectName.OPENAI_CHAT, "google_search", tool.raw))
    search: Members = {}
    if tool.blocked_domains:
        search["excludeDomains"] = tool.blocked_domains
    unsayable = (
        ("allowed domains", bool(tool.allowed_domains)),
        ("limit of uses", tool.uses_max is not None),
        ("context size", bool(tool.context_size)),
        ("location", tool.location is not None),
    )
    said = ", ".join(name for name, given in unsayable if given)
    if said:
        losses.append(Loss(path, "changed", f"this dialect's search knows no {said}"))
    return {"googleSearch": search}


def _add_tool_choice(body: Members, choice: ToolChoice | None, declarations: list[Members], losses: list[Loss]) -> None:
    if choice is None:
        return
    names = {declaration["name"] for declaration in declarations}
    if not names:
        if choice.mode in ("required", "named"):
            losses.append(Loss("tool_choice", "dropped", "there is no function to choose"))
        return
    config: Members = {"mode": _MODES[choice.mode]}
    wanted = (choice.name,) if choice.mode == "named" else choice.allowed if choice.mode == "required" else ()
    allowed = [function_name(name) for name in wanted if function_name(name) in names]
    if wanted and not allowed:
        losses.append(Loss("tool_choice", "dropped", "the tool it names cannot be offered here"))
        return
    if allowed:
        config["allowedFunctionNames"] = allowed
    body["toolConfig"] = {"functionCallingConfig": config}


_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}

# --- generation config -----------------------------------------------------------------------------------------------


def generation_config(
    request: ChatRequest, target: Target, facts: GeminiFacts, extensions: Extensions, losses: list[Loss]
) -> Members:
    """The member `generationConfig`, in a fixed order."""
    config: Members = {}
    _add_sampling(config, request, losses)
    if request.max_tokens is not None:
        config["maxOutputTokens"] = request.max_tokens
    _add_stop(config, request, losses)
    _add_output_format(config, request, facts, extensions, losses)
    thinking = _thinking(request, facts, losses)
    if extensions.thinking_config is not None:
        config["thinkingConfig"] = extensions.thinking_config
    elif thinking:
        config["thinkingConfig"] = thinking
    if extensions.media_resolution is not None:
        config["mediaResolution"] = extensions.media_resolution
    if extensions.modalities:
        spoken = facts.only_speaks and "AUDIO" in extensions.modalities
        config["responseModalities"] = ("AUDIO",) if spoken else extensions.modalities
    speech = gemini_voice(extensions.voice, losses)
    if speech is not None:
        config["speechConfig"] = speech
    _report_unsayable(request, target, losses)
    return config


def _add_sampling(config: Members, request: ChatRequest, losses: list[Loss]) -> None:
    sampling = request.sampling
    if sampling.temperature is not None:
        config["temperature"] = min(sampling.temperature, TEMPERATURE_MAX)
        if sampling.temperature > TEMPERATURE_MAX:
            losses.append(Loss("temperature", "changed", "2 is the highest temperature of this dialect"))
    for name, value in (("topP", sampling.top_p), ("topK", sampling.top_k)):
        if value is not None:
            config[name] = value
    if sampling.candidates is not None:
        if request.stream:
            losses.append(Loss("n", "dropped", "a stream holds one answer here"))
        else:
            config["candidateCount"] = sampling.candidates
    if sampling.seed is not None:
        seed = sampling.seed & SEED_MAX
        config["seed"] = seed
        if seed != sampling.seed:
            losses.append(Loss("seed", "changed", "seeds have 31 bits in this dialect"))
    for name, value in (
        ("presencePenalty", sampling.presence_penalty),
        ("frequencyPenalty", sampling.frequency_penalty),
        ("responseLogprobs", sampling.logprobs),
        ("logprobs", sampling.top_logprobs if sampling.logprobs else None),
    ):
        if value is not None:
            config[name] = value


def _add_stop(config: Members, request: ChatRequest, losses: list[Loss]) -> None:
    if request.stop:
        config["stopSequences"] = request.stop[:STOP_MAX]
        if len(request.stop) > STOP_MAX:
            losses.append(Loss("stop", "changed", f"this dialect takes {STOP_MAX} stop sequences"))


def _add_output_format(
    config: Members, request: ChatRequest, facts: GeminiFacts, extensions: Extensions, losses: list[Loss]
) -> None:
    wanted = request.response_format
    if extensions.guided is not None:
        if wanted is not None and wanted.kind != "text":
            raise RequestError("cannot be given together with response_format", path=extensions.guided.path)
        config.update(extensions.guided.members)
        return
    if wanted is None or wanted.kind == "text":
        return
    if "tools" in _declared(request) and not facts.json_with_tools:
        losses.append(Loss("response_format", "dropped", "this model gives JSON or calls functions, not both"))
        return
    config["responseMimeType"] = "application/json"
    _add_schema(config, wanted, facts, losses)


def _declared(request: ChatRequest) -> tuple[str, ...]:
    return ("tools",) if any(isinstance(tool, FunctionTool) for tool in request.tools) else ()


def _add_schema(config: Members, wanted: ResponseFormat, facts: GeminiFacts, losses: list[Loss]) -> None:
    schema = described_schema(wanted, losses) if wanted.kind == "json_schema" else None
    if schema is None:
        return
    if facts.json_schema:
        config["responseJsonSchema"] = schema
    else:
        config["responseSchema"] = _older_schema(schema, "response_format.json_schema.schema", losses)


# --- thinking --------------------------------------------------------------------------------------------------------

_PATH: Final = "reasoning_effort"
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _thinking(request: ChatRequest, facts: GeminiFacts, losses: list[Loss]) -> Members:
    reasoning = request.reasoning
    if reasoning is None:
        return {}
    off = reasoning.mode == "disabled" or (not reasoning.mode and reasoning.effort == "none")
    if not facts.thinks:
        if not off and (reasoning.mode or reasoning.effort):
            losses.append(Loss(_PATH, "dropped", "this model does not think, or does not let itself be told how much"))
        return {}
    if off:
        return _least_thinking(facts, losses)
    config: Members = {}
    if reasoning.budget_tokens is not None:
        config["thinkingBudget"] = _within(reasoning.budget_tokens, facts, losses)
    elif facts.levels:
        if reasoning.effort:
            config["thinkingLevel"] = _level(reasoning.effort, facts, losses)
    elif reasoning.effort and reasoning.effort != "none":
        config["thinkingBudget"] = _effort_budget(reasoning.effort, request.max_tokens, facts)
        losses.append(Loss(_PATH, "changed", f"becomes a budget of {config['thinkingBudget']} thinking tokens"))
    else:
        config["thinkingBudget"] = DYNAMIC
    # An effort in another dialect's words asks for reasoning the client can see, as its own providers show it.
    config["includeThoughts"] = reasoning.display != "omitted"
    return config


def _effort_budget(effort: str, max_tokens: int | None, facts: GeminiFacts) -> int:
    """The tokens that stand for an effort; thoughts count as output, so at most half of what may be written."""
    budget = EFFORT_BUDGETS.get(effort, EFFORT_BUDGETS["medium"])
    if max_tokens is not None:
        budget = min(budget, max_tokens // 2)
    assert facts.budget is not None
    least, most = facts.budget
    return min(max(budget, least), most)


DYNAMIC: Final = -1
"""The budget of a model that decides by itself."""


def _least_thinking(facts: GeminiFacts, losses: list[Loss]) -> Members:
    if facts.budget is not None:
        if facts.thinking_off:
            return {"thinkingBudget": 0}
        losses.append(Loss(_PATH, "changed", "this model always thinks: it is told to think as little as it can"))
        return {"thinkingBudget": facts.budget[0]}
    level = facts.levels[0]
    losses.append(Loss(_PATH, "changed", f"this model always thinks: its least level is {level}"))
    return {"thinkingLevel": level.upper()}


def _within(budget: int, facts: GeminiFacts, losses: list[Loss]) -> int:
    if facts.budget is None:
        return budget  # a model of levels takes budgets for compatibility
    least, most = facts.budget
    if not least <= budget <= most:
        losses.append(Loss("thinking.budget_tokens", "changed", f"this model takes from {least} to {most}"))
    return min(max(budget, least), most)


def _level(effort: str, facts: GeminiFacts, losses: list[Loss]) -> str:
    """The level nearest to an effort; of two, the higher, since thinking was asked for."""
    if effort in facts.levels:
        return effort.upper()
    place = _EFFORTS.index(effort) if effort in _EFFORTS else _EFFORTS.index("medium")
    level = min(facts.levels, key=lambda each: (abs(_EFFORTS.index(each) - place), -_EFFORTS.index(each)))
    losses.append(Loss(_PATH, "changed", f"the nearest level this model takes is {level}"))
    return level.upper()


# --- the rest --------------------------------------------------------------------------------------------------------

_PLAIN_TIERS: Final = frozenset(("", "auto", "default", "standard", "standard_only"))
_TIERS: Final[Mapping[str, str]] = MappingProxyType({"flex": "flex", "priority": "priority", "fast": "priority"})
"""Other providers' words to Google's."""


def service_tier(request: ChatRequest) -> str:
    """The member `serviceTier`; empty where nothing but the usual is asked for."""
    return _TIERS.get(request.service_tier, "")


_UNKNOWN: Final = "unknown to this dialect"


def _report_unsayable(request: ChatRequest, target: Target, losses: list[Loss]) -> None:
    bias = request.sampling.logit_bias
    unsayable: Mapping[str, bool] = MappingProxyType(
        {
            "logit_bias": bias is not None and bytes(bias) != b"{}",
            "user": bool(request.user),
            "service_tier": request.service_tier not in _PLAIN_TIERS and not service_tier(request),
        }
    )
    losses.extend(Loss(path, "dropped", _UNKNOWN) for path, given in unsayable.items() if given)
    for dialect, members in request.extras.items():
        if dialect not in (DialectName.GEMINI, DialectName.OPENAI_CHAT):
            losses.extend(Loss(name, "dropped", _UNKNOWN) for name in members)


def part_resolutions(facts: GeminiFacts, target: Target) -> bool:
    """Whether each image's detail can be said. AI Studio's v1beta does not know it yet."""
    return facts.media_resolution and target.host is HostName.VERTEX
