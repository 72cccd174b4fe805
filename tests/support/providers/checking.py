"""Whether a request is one that the provider's own SDK could have sent, and carries nothing it should not.

The SDKs' TypedDicts are read through pydantic, strictly: no coercion, no unknown members. Rules that types cannot say
(ids of tool results, empty text blocks…) are below, each as the provider's documentation states it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from headgate.contract.headers import CREDENTIALS, INTERNAL, INTERNAL_PREFIXES
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator

from support.json_values import is_array, is_object, is_tuple
from support.providers.received import Received

PROBLEMS_SHOWN_MAX = 6
DISCRIMINATORS = ("type", "role")


def _strict(schema: Any, *, allow_unknown: bool) -> Any:
    """A core schema with lazy iterables read as lists and unknown members refused (or allowed) at every depth."""
    if is_object(schema):
        changed: dict[str, Any] = {key: _strict(value, allow_unknown=allow_unknown) for key, value in schema.items()}
        extra = "allow" if allow_unknown else "forbid"
        match schema.get("type"):
            case "generator" if "items_schema" in schema:
                changed["type"] = "list"
            case "typed-dict" | "model-fields" if "fields" in schema:
                changed["extra_behavior"] = extra
            case "model" if "cls" in schema:
                changed["config"] = {**changed.get("config", {}), "extra_fields_behavior": extra}
            case _:
                pass
        return changed
    if is_array(schema):
        return [_strict(each, allow_unknown=allow_unknown) for each in schema]
    if is_tuple(schema):
        return tuple(_strict(each, allow_unknown=allow_unknown) for each in schema)
    return schema


@cache
def _validator(type_name: str, *, allow_unknown: bool) -> SchemaValidator:
    module, _, name = type_name.rpartition(".")
    declared = getattr(__import__(module, fromlist=[name]), name)
    return SchemaValidator(_strict(TypeAdapter(declared).core_schema, allow_unknown=allow_unknown))


def sdk_problems(type_name: str, body: bytes, *, allow_unknown: bool = False) -> list[str]:
    """What the SDK type (its dotted name) does not allow in this JSON body."""
    try:
        _validator(type_name, allow_unknown=allow_unknown).validate_json(body, strict=True)
    except ValidationError as error:
        return _readable(error.errors(include_url=False))
    return []


def _readable(errors: Sequence[ErrorDetails]) -> list[str]:
    """Of a union's alternatives, only those whose `type` or `role` matches; the deepest first."""
    wrong = {
        each["loc"][:-1]
        for each in errors
        if each["type"] == "literal_error" and each["loc"] and each["loc"][-1] in DISCRIMINATORS
    }

    def relevant(each: ErrorDetails) -> bool:
        return not any(each["loc"][: len(prefix)] == prefix for prefix in wrong)

    kept = [each for each in errors if relevant(each)] or list(errors)
    kept.sort(key=lambda each: -len(each["loc"]))
    found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']} (got {each['input']!r:.80})" for each in kept]
    return found[:PROBLEMS_SHOWN_MAX]


def header_problems(received: Received, credential: str, value: str | None, *, form: bool = False) -> list[str]:
    """Foreign credentials, internal headers, doubled or missing headers, a body that is not JSON (or no form).

    `credential` is the only credential header allowed; `value` what it must hold (None: not compared here).
    """
    problems: list[str] = []
    names = [name for name, _ in received.headers]
    for name in names:
        if name.startswith(INTERNAL_PREFIXES) or name in INTERNAL:
            problems.append(f"internal header {name} reached the provider")
        if (
            name in CREDENTIALS
            and name != credential
            and not (credential == "authorization" and name.startswith("x-amz"))
        ):
            problems.append(f"foreign credential {name} reached the provider")
    problems += [
        f"header {name} came twice" for name in {*CREDENTIALS, "host", "content-type"} if names.count(name) > 1
    ]
    if credential not in names:
        problems.append(f"no {credential} header")
    elif value is not None and (credential, value) not in received.headers:
        problems.append(f"{credential} is not this provider's key")
    expected = "multipart/form-data" if form else "application/json"
    if received.body and not (received.header("content-type") or "").lower().startswith(expected):
        problems.append(f"content-type is {received.header('content-type')}")
    length = received.header("content-length")
    if length is not None and int(length) != len(received.body):
        problems.append(f"content-length {length} for {len(received.body)} bytes")
    return problems


def openai_chat_rules(body: dict[str, Any]) -> Iterator[str]:
    """Every tool call is answered, and every tool message answers one."""
    open_calls: set[str] = set()
    for index, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                yield f"messages[{index}]: tool_call_id {message['tool_call_id']} answers no preceding tool call"
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            yield f"messages[{index}]: tool calls {sorted(open_calls)} were not answered"
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        for call in message.get("tool_calls") or ():
            if call["type"] == "function" and not _is_json_object(call["function"]["arguments"]):
                yield f"messages[{index}]: arguments of {call['id']} are not a JSON object"
        if message["role"] == "assistant" and not any(
            message.get(key) for key in ("content", "tool_calls", "refusal", "audio", "function_call")
        ):
            yield f"messages[{index}]: an assistant message needs content or tool_calls"
    if body.get("stream_options") and not body.get("stream"):
        yield "stream_options without stream"
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        yield "tool_choice without tools"


def openai_responses_rules(body: dict[str, Any]) -> Iterator[str]:
    """Every function call is answered once, after it was made; nothing is kept."""
    open_calls: set[str] = set()
    for index, item in enumerate(body["input"]):
        if item.get("type") == "function_call":
            open_calls.add(item["call_id"])
            if not _is_json_object(item["arguments"]):
                yield f"input[{index}]: arguments of {item['call_id']} are not a JSON object"
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in open_calls:
                yield f"input[{index}]: call_id {item['call_id']} answers no preceding call"
            open_calls.discard(item["call_id"])
    if open_calls:
        yield f"input: calls {sorted(open_calls)} were not answered"
    if "store" not in body:
        yield "answers would be kept at the provider"
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        yield "tool_choice without tools"


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def anthropic_messages_rules(body: dict[str, Any]) -> Iterator[str]:
    """Non-empty text, tool results in place, thinking's budget, at most four cache breakpoints."""
    if not body["messages"]:
        yield "messages: at least one message is required"
    elif body["messages"][0]["role"] != "user":
        yield "messages: first message must use the user role"
    yield from _tool_result_rules(body["messages"])
    yield from _text_rules(body)
    if _count_cache_controls(body) > 4:
        yield "a maximum of 4 blocks with cache_control may be provided"
    if body.get("temperature") is not None and not 0 <= body["temperature"] <= 1:
        yield "temperature: range: 0..1"
    thinking: dict[str, Any] = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if thinking["budget_tokens"] < 1024:
            yield "thinking.budget_tokens: Input should be greater than or equal to 1024"
        if "max_tokens" in body and body["max_tokens"] <= thinking["budget_tokens"]:
            yield "max_tokens must be greater than thinking.budget_tokens"
        if body.get("temperature") not in (None, 1):
            yield "temperature may only be set to 1 when thinking is enabled"
        choice: dict[str, Any] = body.get("tool_choice") or {}
        if choice.get("type") in ("any", "tool"):
            yield "thinking may not be enabled when tool_choice forces tool use"
    if body.get("tool_choice") and not body.get("tools"):
        yield "tool_choice may only be specified while providing tools"
    if body.get("max_tokens") is not None and body["max_tokens"] < 1:
        yield "max_tokens: must be greater than or equal to 1"


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _tool_result_rules(messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        blocks = _blocks(message)
        results = [each["tool_use_id"] for each in blocks if each["type"] == "tool_result"]
        if len(results) > len(set(results)):
            yield f"messages.{index}: each tool_use must have a single result"
        if unknown := set(results) - open_calls:
            yield f"messages.{index}: unexpected tool_use_id {sorted(unknown)} in tool_result blocks"
        if missing := open_calls - set(results):
            yield f"messages.{index}: tool_use ids without tool_result blocks immediately after: {sorted(missing)}"
        kinds = [each["type"] == "tool_result" for each in blocks]
        if results and kinds != sorted(kinds, reverse=True):
            yield f"messages.{index}: tool_result blocks must come first"
        open_calls = {each["id"] for each in blocks if each["type"] == "tool_use"}


def _text_rules(body: dict[str, Any]) -> Iterator[str]:
    system: Any = body.get("system") or []
    blocks = [("system", each) for each in system if is_object(each)]
    for index, message in enumerate(body["messages"]):
        blocks += [(f"messages.{index}", each) for each in _blocks(message)]
    yield from (f"{where}: text content blocks must be non-empty" for where, each in blocks if each.get("text") == "")
    last = body["messages"][-1] if body["messages"] else {"role": "user", "content": ""}
    if last["role"] == "assistant" and (text := _blocks(last)[-1].get("text", "")) and text != text.rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"


def _count_cache_controls(value: Any) -> int:
    if is_object(value):
        return (value.get("cache_control") is not None) + sum(map(_count_cache_controls, value.values()))
    return sum(map(_count_cache_controls, value)) if is_array(value) else 0


Rules = Callable[[dict[str, Any]], Iterator[str]]


def body_problems(
    type_names: tuple[str, str], rules: Rules | None, received: Received, allow_unknown: bool
) -> list[str]:
    """Problems of a JSON body; `type_names` are the SDK types without and with `stream: true`."""
    try:
        body = received.json
    except ValueError as error:
        return [f"not JSON: {error}"]
    found = sdk_problems(type_names[received.streamed], received.body, allow_unknown=allow_unknown)
    return found or list(rules(body) if rules else ())
