"""Everything of a request but its turns, as Cohere takes it; what it does not take is a loss."""

from typing import Any, Final

import msgspec
from headgate.llm.canonical import ChatRequest, FunctionTool, OpaqueTool, WebSearchTool, tool_path
from headgate.llm.capabilities import EFFORT_BUDGETS, CohereFacts
from headgate.llm.dialects.schema_description import described_schema
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName

Members = dict[str, Any]

STOP_MAX: Final = 5
K_MAX: Final = 500
P_MIN: Final = 0.01
P_MAX: Final = 0.99
PENALTY_MAX: Final = 1.0

_ANY_OBJECT: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_UNKNOWN: Final = "unknown to this dialect"


def add_settings(body: Members, request: ChatRequest, facts: CohereFacts, losses: list[Loss]) -> None:
    """Adds tools, output format, limits, sampling and thinking."""
    _add_tools(body, request, losses)
    _add_response_format(body, request, losses)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop_sequences"] = request.stop[:STOP_MAX]
        if len(request.stop) > STOP_MAX:
            losses.append(Loss("stop", "changed", f"this dialect takes {STOP_MAX} stop sequences"))
    _add_sampling(body, request, losses)
    _add_thinking(body, request, facts, losses)
    _report_unsayable(request, losses)


# --- tools -----------------------------------------------------------------------------------------------------------


def _add_tools(body: Members, request: ChatRequest, losses: list[Loss]) -> None:
    choice = request.tool_choice
    allowed: tuple[str, ...] = ()
    if choice is not None:
        allowed = (choice.name,) if choice.mode == "named" else choice.allowed
    if allowed:
        losses.append(Loss("tool_choice", "emulated", "only the tools that may be called are sent"))
    tools: list[Members] = []
    strict: list[bool] = []
    for index, tool in enumerate(request.tools):
        path = tool_path(tool, index)
        match tool:
            case FunctionTool():
                if allowed and tool.name not in allowed:
                    continue
                function: Members = {"name": tool.name}
                if tool.description:
                    function["description"] = tool.description
                function["parameters"] = _ANY_OBJECT if tool.parameters is None else tool.parameters
                tools.append({"type": "function", "function": function})
                strict.append(bool(tool.strict))
            case WebSearchTool():
                losses.append(Loss(path, "dropped", "this dialect has no web search"))
            case OpaqueTool():
                losses.append(Loss(path, "dropped", f"{tool.kind} is a tool of {tool.dialect} only"))
    if tools:
        body["tools"] = tools
        if any(strict):
            body["strict_tools"] = True
            if not all(strict):
                losses.append(Loss("tools", "changed", "tools are strict all or none in this dialect"))
        if request.parallel_tool_calls is False:
            losses.append(Loss("parallel_tool_calls", "dropped", "this dialect cannot forbid parallel calls"))
    if choice is None or choice.mode == "auto":
        return
    if tools:
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"
    elif choice.mode != "none":
        losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))


# --- output ----------------------------------------------------------------------------------------------------------


def _add_response_format(body: Members, request: ChatRequest, losses: list[Loss]) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if "tools" in body or "documents" in body:
        losses.append(Loss("response_format", "dropped", "tools and documents exclude it in this dialect"))
        return
    encoded: Members = {"type": "json_object"}
    schema = described_schema(wanted, losses)
    if schema is not None:
        encoded["json_schema"] = schema
    body["response_format"] = encoded


# --- sampling and thinking -------------------------------------------------------------------------------------------


def _add_sampling(body: Members, request: ChatRequest, losses: list[Loss]) -> None:
    sampling = request.sampling
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.seed is not None:
        if sampling.seed < 0:
            losses.append(Loss("seed", "dropped", "seeds are not negative in this dialect"))
        else:
            body["seed"] = sampling.seed
    penalties = (("frequency_penalty", sampling.frequency_penalty), ("presence_penalty", sampling.presence_penalty))
    for name, value in penalties:
        if value is not None:
            body[name] = _within(name, value, (0.0, PENALTY_MAX), losses)
    if sampling.top_k is not None:
        body["k"] = int(_within("top_k", sampling.top_k, (0, K_MAX), losses))
    if sampling.top_p is not None:
        body["p"] = _within("top_p", sampling.top_p, (P_MIN, P_MAX), losses)
    if sampling.logprobs is not None:
        body["logprobs"] = sampling.logprobs


def _within(path: str, value: float, bounds: tuple[float, float], losses: list[Loss]) -> float:
    lowest, highest = bounds
    if lowest <= value <= highest:
        return value
    nearest = highest if value > highest else lowest
    losses.append(Loss(path, "changed", f"{nearest:g} is as far as this dialect goes"))
    return nearest


def _add_thinking(body: Members, request: ChatRequest, facts: CohereFacts, losses: list[Loss]) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    off = reasoning.mode == "disabled" or (not reasoning.mode and reasoning.effort == "none")
    if not facts.thinking:
        if not off:
            losses.append(Loss("reasoning_effort", "dropped", "this model does not think"))
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    if reasoning.display == "omitted":
        losses.append(Loss("thinking.display", "dropped", "this dialect shows what a model thinks"))
    thinking: Members = {"type": "enabled"}
    budget = reasoning.budget_tokens
    if budget is None and reasoning.effort:
        budget = EFFORT_BUDGETS.get(reasoning.effort, EFFORT_BUDGETS["medium"])
        losses.append(Loss("reasoning_effort", "changed", f"becomes a budget of {budget} thinking tokens"))
    if budget is not None:
        thinking["token_budget"] = max(budget, 1)
    body["thinking"] = thinking


# --- the rest --------------------------------------------------------------------------------------------------------


def _report_unsayable(request: ChatRequest, losses: list[Loss]) -> None:
    sampling = request.sampling
    unsayable = (
        ("n", sampling.candidates not in (None, 1)),
        ("top_logprobs", bool(sampling.top_logprobs)),
        ("logit_bias", sampling.logit_bias is not None and bytes(sampling.logit_bias) != b"{}"),
        ("user", bool(request.user)),
        ("service_tier", request.service_tier not in ("", "auto", "default")),
    )
    losses.extend(Loss(path, "dropped", _UNKNOWN) for path, present in unsayable if present)
    for dialect, members in request.extras.items():
        if dialect is not DialectName.COHERE:
            losses.extend(Loss(name, "dropped", _UNKNOWN) for name in members)
