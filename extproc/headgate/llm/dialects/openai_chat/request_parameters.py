"""The parameters of a chat completion request: tools, limits, sampling, reasoning, identity.

Every function adds members to the body, in a fixed order, and a loss for what the target model does not take.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal, assert_never

import msgspec
from headgate.llm.canonical import (
    CachePoint,
    ChatRequest,
    FunctionTool,
    OpaqueTool,
    Reasoning,
    Sampling,
    ToolChoice,
    WebSearchTool,
    tool_path,
)
from headgate.llm.capabilities import EFFORT_BUDGETS, OpenAIFacts
from headgate.llm.dialects.openai_chat.web_search import PATH, search_options
from headgate.llm.dialects.speech import PCM, openai_voice
from headgate.llm.dialects.tool_names import taken_name
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName

Members = dict[str, Any]
"""Members of a JSON object about to be encoded."""

TOOL_NAME_CHARACTERS_MAX: Final = 64
"""OpenAI refuses a longer name; Anthropic takes twice that, and agents use it for tools of MCP servers."""

RENAMED: Final = f"names have {TOOL_NAME_CHARACTERS_MAX} letters, digits, _ and - at most: called by a digest"

USER_CHARACTERS_MAX: Final = 64
"""OpenAI refuses a longer `user`."""

BUDGET_EFFORTS: Final = ((4_096, "low"), (16_384, "medium"))
"""Thinking budgets below these count as this effort; above them as high."""

ADAPTIVE_EFFORT: Final = "medium"

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def cache_control(cache: CachePoint) -> Members:
    """A cache point as the extension member `cache_control`."""
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def provider_name(name: str) -> str:
    """A tool's name as OpenAI takes it."""
    return taken_name(name, TOOL_NAME_CHARACTERS_MAX)


CALL_ID_CHARACTERS_MAX: Final = 40
"""OpenAI refuses a longer id of a call; here and there it takes 64."""


@lru_cache(maxsize=4096)
def provider_call_id(call_id: str) -> str:
    """The id of a call as OpenAI takes it. Remembered: it comes with the call, its result, and both in later turns."""
    if len(call_id) <= CALL_ID_CHARACTERS_MAX:
        return call_id
    digest = sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{call_id[: CALL_ID_CHARACTERS_MAX - 17]}_{digest}"


_NINE: Final = re.compile(r"[a-zA-Z0-9]{9}")


@lru_cache(maxsize=4096)
def short_call_id(call_id: str) -> str:
    """The id of a call for who takes nine letters and digits only."""
    return call_id if _NINE.fullmatch(call_id) else sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def add_tools(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> dict[str, str]:
    """Adds tools and the choice among them; the names that had to change, provider's to client's."""
    tools: list[object] = []
    names: set[str] = set()
    renamed: dict[str, str] = {}
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None and not facts.own_api else ()
    if allowed:
        losses.append(Loss("tool_choice", "emulated", "only the allowed tools are sent"))
    for index, tool in enumerate(request.tools):
        match tool:
            case FunctionTool():
                if allowed and tool.name not in allowed:
                    continue
                names.add(tool.name)
                if provider_name(tool.name) != tool.name:
                    renamed[provider_name(tool.name)] = tool.name
                    losses.append(Loss(f"{tool_path(tool, index)}.name", "emulated", RENAMED))
                tools.append(_function_tool(tool, facts))
            case OpaqueTool() if tool.dialect is DialectName.OPENAI_CHAT:
                tools.append(tool.raw)
            case WebSearchTool():
                _add_search(body, tool, tool_path(tool, index), facts, losses)
            case OpaqueTool():
                losses.append(Loss(tool_path(tool, index), "dropped", f"this dialect has no tool {tool.kind}"))
            case _:
                assert_never(tool)
    if tools:
        body["tools"] = tools
    if choice is not None:
        _add_choice(body, choice, names, losses, limited=bool(allowed))
    if tools and request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return renamed


def _add_choice(
    body: Members, choice: ToolChoice, names: Collection[str], losses: list[Loss], *, limited: bool
) -> None:
    """`names` are the functions that are offered; `limited`: only those that are allowed."""
    tools = body.get("tools", ())
    if not tools:
        if choice.mode not in ("none", "auto"):
            losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))
    elif choice.mode == "named" and choice.name not in names and len(names) == len(tools):
        losses.append(Loss("tool_choice", "dropped", "the tool it names cannot be offered here"))
    else:
        body["tool_choice"] = choice.mode if limited else _tool_choice(choice)


def _add_search(body: Members, tool: WebSearchTool, path: str, facts: OpenAIFacts, losses: list[Loss]) -> None:
    if facts.web_search:
        body[PATH] = search_options(tool, path, losses)
    else:
        losses.append(Loss(path, "dropped", "this model does not search the web"))


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": provider_name(choice.name)}}
    if choice.allowed:
        allowed = [{"type": "function", "function": {"name": provider_name(name)}} for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}
    return choice.mode


def _function_tool(tool: FunctionTool, facts: OpenAIFacts) -> Members:
    function: Members = {"name": provider_name(tool.name)}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = object_schema(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    encoded: Members = {"type": "function", "function": function}
    if tool.cache is not None and facts.cache_control:
        encoded["cache_control"] = cache_control(tool.cache)
    return encoded


def object_schema(schema: msgspec.Raw) -> msgspec.Raw:
    """The schema with what OpenAI insists on, `type: object` and `properties`; as it came if it has them."""
    members = _decode_members(schema)
    missing = b""
    is_object = bytes(members.get("type", b"")) == b'"object"'
    if not members.keys() & _SCHEMA_TYPES:
        is_object = True
        missing += b',"type":"object"'
    if is_object and "properties" not in members:
        missing += b',"properties":{}'
    if not missing:
        return schema
    text = bytes(schema)[:-1]
    return msgspec.Raw(text + (missing if members else missing[1:]) + b"}")


_SCHEMA_TYPES: Final = frozenset(("type", "$ref", "anyOf", "oneOf", "allOf", "enum"))
"""Any of them says what the arguments are."""


def add_limits(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """The most tokens, and where to stop."""
    if request.max_tokens is not None:
        most = facts.output_tokens_max
        if most is not None and request.max_tokens > most:
            losses.append(Loss("max_tokens", "changed", f"this model writes at most {most}"))
        limit = request.max_tokens if most is None else min(request.max_tokens, most)
        body["max_completion_tokens" if facts.max_completion_tokens else "max_tokens"] = limit
    if request.stop:
        stop = request.stop[: facts.stop_max]
        if stop:
            body["stop"] = stop
        if len(stop) < len(request.stop):
            action: Literal["changed", "dropped"] = "changed" if stop else "dropped"
            losses.append(Loss("stop", action, f"this model takes {facts.stop_max} stop sequences"))


def add_temperature(body: Members, sampling: Sampling, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """`temperature` and `top_p`, which both of OpenAI's chat dialects have."""
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is None or (value == 1 and not facts.sampling):
            continue
        if facts.sampling:
            body[name] = value
        else:
            losses.append(Loss(name, "dropped", "this model takes only 1"))


def add_sampling(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """How to choose tokens."""
    sampling = request.sampling
    add_temperature(body, sampling, facts, losses)
    if sampling.top_k is not None:
        losses.append(Loss("top_k", "dropped", "this dialect has no such parameter"))
    for name, value in (
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("seed", sampling.seed),
        ("n", sampling.candidates),
        ("logprobs", sampling.logprobs),
        ("top_logprobs", sampling.top_logprobs),
        ("logit_bias", sampling.logit_bias),
    ):
        if value is None:
            continue
        if (facts.sampling or name not in _CLASSIC) and (facts.penalties or name not in _PENALTIES):
            body[name] = value
        else:
            losses.append(Loss(name, "dropped", "models that reason do not take it"))


_PENALTIES: Final = frozenset(("frequency_penalty", "presence_penalty"))
_CLASSIC: Final = frozenset(("frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"))
"""<https://platform.openai.com/docs/guides/reasoning>: refused by OpenAI's reasoning models, like temperatures."""


def add_response_format(body: Members, request: ChatRequest) -> None:
    """What the answer must look like."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        return
    schema: Members = {"name": wanted.name or "response"}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    body["response_format"] = {"type": "json_schema", "json_schema": schema}


SHARED_WITH_RESPONSES: Final = {
    "metadata": "metadata",
    "store": "store",
    "prompt_cache_key": "prompt_cache_key",
    "prompt_cache_retention": "prompt_cache_retention",
    "safety_identifier": "safety_identifier",
    "text.verbosity": "verbosity",
}
"""Members of the responses API, and what chat completions call them."""


def add_shared(body: Members, members: Mapping[str, msgspec.Raw], facts: OpenAIFacts, losses: list[Loss]) -> None:
    """Adds what the responses API says in members that chat completions have too, where OpenAI serves the model."""
    for name, raw in members.items():
        shared = SHARED_WITH_RESPONSES.get(name)
        if shared is not None and facts.own_api:
            body[shared] = raw
        elif shared is not None:
            losses.append(Loss(name, "dropped", "this server is not known to take it"))
        else:
            losses.append(Loss(name, "dropped", "this dialect has no such parameter"))


_SERVICE_TIERS: Final = {"standard_only": "default", "standard": "default"}
"""Anthropic's words to OpenAI's, where they differ."""
_KNOWN_TIERS: Final = frozenset(("auto", "default", "flex", "priority", "scale", "fast"))


def add_identity(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """For whom, and how urgently."""
    if len(request.user) > USER_CHARACTERS_MAX:
        # A digest tells users apart as well as the name does; agents send session ids longer than OpenAI takes.
        body["user"] = sha256(request.user.encode()).hexdigest()
        losses.append(Loss("user", "emulated", f"said as a digest: more than {USER_CHARACTERS_MAX} characters"))
    elif request.user:
        body["user"] = request.user
    tier = _SERVICE_TIERS.get(request.service_tier, request.service_tier)
    if not tier:
        return
    if facts.own_api and tier in _KNOWN_TIERS:
        body["service_tier"] = tier
    elif tier not in ("auto", "default"):
        losses.append(Loss("service_tier", "dropped", f"this provider has no tier {tier[:32]}"))


MODALITIES: Final = "generationConfig.responseModalities"
SPEECH: Final = "generationConfig.speechConfig"


def add_speech(
    body: Members, members: Mapping[str, msgspec.Raw], facts: OpenAIFacts, losses: list[Loss]
) -> Collection[str]:
    """That the answer shall sound, as a Gemini client asks for it: the members that are said, or said to be lost."""
    wanted = msgspec.json.decode(members.get(MODALITIES, b"[]"))
    if not isinstance(wanted, list) or "AUDIO" not in wanted:
        return ()
    if not facts.audio:
        losses.extend(
            Loss(name, "dropped", "this model does not speak") for name in (MODALITIES, SPEECH) if name in members
        )
        return (MODALITIES, SPEECH)
    body["modalities"] = ["text", "audio"]
    body["audio"] = {"voice": openai_voice(members.get(SPEECH), losses), "format": PCM}
    return (MODALITIES, SPEECH)


def add_reasoning(body: Members, reasoning: Reasoning | None, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """How much to think, in the words of the model."""
    if reasoning is None:
        return
    if facts.thinking:
        _add_thinking(body, reasoning, facts, losses)
        return
    path = "output_config.effort" if reasoning.effort else "thinking"
    if not facts.efforts:
        if reasoning.mode == "disabled" or reasoning.effort == "none":
            return  # it does not think anyway
        losses.append(Loss(path, "dropped", "this model is not known to take reasoning parameters"))
        return
    wanted = reasoning.effort or _effort_of_mode(reasoning)
    if not wanted and "none" in facts.efforts:
        # Models that know `none` do not think unless they are told to, and the client wants them to if need be.
        wanted = ADAPTIVE_EFFORT
        losses.append(Loss(path, "changed", f"said as effort {wanted}"))
    if not wanted:
        return  # adaptive: the model decides, which is what it does by itself
    if _add_effort(body, wanted, facts, losses, path=path) and reasoning.budget_tokens is not None:
        losses.append(Loss("thinking.budget_tokens", "changed", f"said as effort {wanted}"))


def _add_effort(
    body: Members, wanted: str, facts: OpenAIFacts, losses: list[Loss], *, path: str = "output_config.effort"
) -> bool:
    """Whether the effort could be said as it is wanted, and not only the nearest."""
    effort = _nearest(wanted, facts.efforts)
    body["reasoning_effort"] = effort
    if effort != wanted:
        losses.append(Loss(path, "changed", f"the nearest effort this model takes is {effort}"))
    return effort == wanted


def keep_tools(body: Members, facts: OpenAIFacts, losses: list[Loss]) -> None:
    """Tools exclude reasoning where a model has both only in the responses API: then the tools are what is kept."""
    if facts.tools_while_reasoning or "tools" not in body or "none" not in facts.efforts:
        return
    if body.get("reasoning_effort", "none") != "none":
        losses.append(Loss("output_config.effort", "changed", "with tools it reasons in the responses API only"))
    body["reasoning_effort"] = "none"


def add_any_reasoning(body: Members, reasoning: Reasoning | None) -> None:
    """How much to think, in the words of who takes them for every model (`Vendor.reasoning`)."""
    if reasoning is None:
        return
    if reasoning.effort:
        body["reasoning"] = {"effort": reasoning.effort}
    elif reasoning.mode == "disabled":
        body["reasoning"] = {"effort": "none"}
    elif reasoning.budget_tokens is not None:
        body["reasoning"] = {"max_tokens": reasoning.budget_tokens}
    else:
        body["reasoning"] = {"enabled": True}


def add_switched_thinking(body: Members, reasoning: Reasoning | None, losses: list[Loss]) -> None:
    """Whether to think, and how much, for who has a switch and a budget (`Vendor.reasoning`)."""
    if reasoning is None or (reasoning.mode == "adaptive" and not reasoning.effort):
        return
    body["enable_thinking"] = reasoning.mode != "disabled" and reasoning.effort != "none"
    if reasoning.budget_tokens is not None:
        body["thinking_budget"] = reasoning.budget_tokens
    elif reasoning.effort in EFFORT_BUDGETS:
        body["thinking_budget"] = budget = EFFORT_BUDGETS[reasoning.effort]
        losses.append(Loss("output_config.effort", "changed", f"becomes a budget of {budget} thinking tokens"))


def add_template_switch(body: Members, reasoning: Reasoning | None, switch: str, losses: list[Loss]) -> None:
    """Whether to think, for who fills in the model's chat template (`OpenAIFacts.template_switch`)."""
    if reasoning is None or (reasoning.mode == "adaptive" and not reasoning.effort):
        return
    thinks = reasoning.mode != "disabled" and reasoning.effort != "none"
    body["chat_template_kwargs"] = {switch: thinks}
    if thinks and reasoning.effort not in ("", "high"):
        losses.append(Loss("output_config.effort", "changed", "this model only thinks or does not"))
    if reasoning.budget_tokens is not None:
        losses.append(Loss("thinking.budget_tokens", "dropped", "this model takes no thinking budget"))


def _effort_of_mode(reasoning: Reasoning) -> str:
    match reasoning.mode:
        case "disabled":
            return "none"
        case "enabled":
            budget = reasoning.budget_tokens
            if budget is None:
                return "medium"
            return next((effort for limit, effort in BUDGET_EFFORTS if budget < limit), "high")
        case "adaptive" | "":
            return ""
        case _:
            assert_never(reasoning.mode)


_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _nearest(wanted: str, efforts: Sequence[str]) -> str:
    """The effort taken that is nearest to the wanted one; of two, the lower. A word nobody knows goes out as it is."""
    if wanted in efforts or wanted not in _EFFORTS:
        return wanted
    place = _EFFORTS.index(wanted)
    return min(efforts, key=lambda effort: (abs(_EFFORTS.index(effort) - place), _EFFORTS.index(effort)))


def _add_thinking(body: Members, reasoning: Reasoning, facts: OpenAIFacts, losses: list[Loss]) -> None:
    mode = reasoning.mode
    if not mode:
        mode = "disabled" if reasoning.effort == "none" else "enabled"
        if mode == "enabled" and facts.efforts:
            _add_effort(body, reasoning.effort, facts, losses)
        elif reasoning.effort not in ("none", "high") and "adaptive" not in facts.thinking:
            losses.append(Loss("output_config.effort", "changed", "this model only thinks or does not"))
        if "adaptive" in facts.thinking and mode == "enabled":
            body["reasoning_effort"] = reasoning.effort
            return
    if mode not in facts.thinking:
        return  # adaptive where the model knows only on and off: its own default
    thinking: Members = {"type": mode}
    if reasoning.budget_tokens is not None:
        if facts.thinking_budget:
            thinking["budget_tokens"] = reasoning.budget_tokens
        else:
            losses.append(Loss("thinking.budget_tokens", "dropped", "this model takes no thinking budget"))
    body["thinking"] = thinking
