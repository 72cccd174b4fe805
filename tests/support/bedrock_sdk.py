"""What AWS's own SDK (botocore) makes of Bedrock's requests, answers and streams: its service model is the judge."""

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Final

import botocore.eventstream
import botocore.exceptions
import botocore.parsers
import botocore.session
import botocore.validate
import msgspec

from support.json_values import is_array, is_object

_SESSION: Any = botocore.session
_PARSERS: Any = botocore.parsers
_VALIDATE: Any = botocore.validate
"""The SDK has no types."""

CONVERSE: Final = "Converse"
CONVERSE_STREAM: Final = "ConverseStream"


@cache
def _model() -> Any:
    return _SESSION.get_session().get_service_model("bedrock-runtime")


def request_problems(body: bytes, operation: str = CONVERSE) -> list[str]:
    """What the service model does not allow in this JSON body; empty: nothing."""
    shape: Any = _model().operation_model(operation).input_shape
    found: list[str] = []
    parameters = {"modelId": "m", **_to_parameters(msgspec.json.decode(body), shape, "", found)}
    report: Any = _VALIDATE.ParamValidator().validate(parameters, shape)
    return found + ([report.generate_report()] if report.has_errors() else [])


def _to_parameters(value: Any, shape: Any, path: str, found: list[str]) -> Any:
    """The JSON value as a caller of the SDK would give it: blobs as bytes. Notes what the SDK itself does not check."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False) and is_object(value):
            members: dict[str, Any] = shape.members
            return {
                name: _to_parameters(each, members[name], f"{path}.{name}", found) if name in members else each
                for name, each in value.items()
            }
        case "list" if is_array(value):
            return [_to_parameters(each, shape.member, f"{path}[{i}]", found) for i, each in enumerate(value)]
        case "blob" if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error as error:
                found.append(f"{path}: not base64: {error}")
        case "string" if isinstance(value, str):
            known: Any = shape.metadata
            if "enum" in known and value not in known["enum"]:
                found.append(f"{path}: {value!r} is none of {known['enum']}")
            if "pattern" in known and not re.fullmatch(known["pattern"], value):
                found.append(f"{path}: {value!r} does not match {known['pattern']}")
            if len(value) > known.get("max", len(value)):
                found.append(f"{path}: longer than {known['max']}")
        case _:
            pass
    return value


def converse_rules(body: dict[str, Any]) -> Iterator[str]:
    """What the service says of a conversation beyond types: roles alternate, results answer calls, no blank text."""
    messages: list[Any] = body["messages"]
    roles = [each["role"] for each in messages]
    if roles[:1] != ["user"]:
        yield "messages: a conversation must start with a user message"
    if any(before == after for before, after in pairwise(roles)):
        yield "messages: roles must alternate"
    open_calls: set[str] = set()
    names: list[str] = []
    for index, message in enumerate(messages):
        content: list[Any] = message["content"]
        results = [each["toolResult"]["toolUseId"] for each in content if "toolResult" in each]
        if set(results) != open_calls:
            yield f"messages.{index}: the turn answers {results}, the calls before it were {sorted(open_calls)}"
        open_calls = {each["toolUse"]["toolUseId"] for each in content if "toolUse" in each}
        names += [each["document"]["name"] for each in content if "document" in each]
        if any("text" in each and not each["text"].strip() for each in content) or not content:
            yield f"messages.{index}: the text field in the ContentBlock object is blank"
        if any("document" in each for each in content) and not any("text" in each for each in content):
            yield f"messages.{index}: a document needs a text block beside it"
    if any("toolUse" in each for message in messages for each in message["content"]) and "toolConfig" not in body:
        yield "the toolConfig field must be defined when using toolUse and toolResult content blocks"
    if len(names) != len(set(names)):
        yield "duplicate document file names"
    if "inferenceConfig" in body and not 0 <= body["inferenceConfig"].get("temperature", 0) <= 1:
        yield "temperature: 0..1"


def parse_answer(body: bytes, operation: str = CONVERSE, *, status: int = 200, **headers: str) -> Any:
    """The answer as the SDK returns it; fails where members that it insists on are missing."""
    parser: Any = _PARSERS.create_parser("rest-json")
    shape: Any = _model().operation_model(operation).output_shape
    parsed: Any = parser.parse({"status_code": status, "headers": headers, "body": body}, shape)
    if status == 200:
        _require(parsed, shape, "")
    return parsed


def _require(value: Any, shape: Any, path: str) -> None:
    match shape.type_name:
        case "structure" if is_object(value):
            missing = [name for name in shape.required_members if name not in value]
            assert not missing, f"{path}: {missing} missing"
            for name, each in value.items():
                if name in shape.members:
                    _require(each, shape.members[name], f"{path}.{name}")
        case "list":
            for i, each in enumerate(value):
                _require(each, shape.member, f"{path}[{i}]")
        case _:
            pass


class _Raw:
    """What the SDK reads a stream from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None: ...


def stream_events(body: bytes, operation: str = CONVERSE_STREAM) -> Iterator[dict[str, Any]]:
    """The events of a stream as the SDK yields them. Raises `EventStreamError` where it would."""
    shape: Any = _model().operation_model(operation).output_shape
    member: Any = shape.members[shape.event_stream_name]
    parser: Any = _PARSERS.EventStreamJSONParser()
    stream: Any = botocore.eventstream.EventStream(_Raw(body), member, parser, operation)
    for event in stream:
        for name, value in event.items():
            _require(value, member.members[name], name)
        yield event


EventStreamError: type[Exception] = botocore.exceptions.EventStreamError
