"""Bedrock's runtime: Converse and InvokeModel of Claude, whole and streamed. Every signature is checked, and every
body by AWS's own service model or Anthropic's SDK.

Signature version 4: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

from support import bedrock_sdk
from support.eventstream import CONTENT_TYPE, event
from support.providers import checking
from support.providers.answers import Answer, Failure, pieces
from support.providers.anthropic_api import ANTHROPIC
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import JSON, compact

PATH = re.compile(r"/model/(?P<model>[^/]+)/(?P<call>converse|converse-stream|invoke|invoke-with-response-stream)")
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access>[^/]+)/(?P<scope>[^,]+), ?SignedHeaders=(?P<signed>[^,]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "content_filtered",
}
ERROR_TYPES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
INVOKED = "anthropic.types.message_create_params.MessageCreateParamsNonStreaming"


@dataclass(frozen=True, slots=True)
class BedrockApi:
    """`Provider(BEDROCK, key="<access key id>:<secret access key>")`."""

    credential_header: str = "authorization"

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, None)
        matched = PATH.fullmatch(received.path)
        if received.method != "POST" or not matched:
            return [*found, f"no such path: {received.method} {received.path}"]
        found += signature_problems(received, *key.split(":", 1))
        try:
            body = received.json
        except ValueError as error:
            return [*found, f"not JSON: {error}"]
        if allow_unknown:
            return found
        judge = _converse_problems if matched["call"].startswith("converse") else _invoke_problems
        return found + list(judge(body))

    def render(self, answer: Answer, received: Received) -> Rendered:
        matched = PATH.fullmatch(received.path)
        assert matched, "refused before"
        match matched["call"]:
            case "converse":
                return Rendered(JSON, (compact(_message(answer)).encode(),))
            case "converse-stream":
                return Rendered(CONTENT_TYPE, tuple(_stream(answer)))
            case call:
                return _invoked(answer, received, unquote(matched["model"]), stream=call != "invoke")

    def render_failure(self, failure: Failure) -> Rendered:
        kind = failure.kind or ERROR_TYPES.get(failure.status, "InternalServerException")
        return Rendered(JSON, (compact({"__type": kind, "message": failure.message}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        return {"x-amzn-requestid": f"req-bedrock-{number}"}


def _converse_problems(body: Any) -> Iterator[str]:
    found = bedrock_sdk.request_problems(compact(body).encode())
    yield from found or bedrock_sdk.converse_rules(body)


def _invoke_problems(body: dict[str, Any]) -> Iterator[str]:
    if body.get("anthropic_version") != "bedrock-2023-05-31":
        yield f"anthropic_version is {body.get('anthropic_version')}"
    yield from (f"{name}: Extra inputs are not permitted" for name in ("model", "stream") if name in body)
    betas = body.get("anthropic_beta", [])
    if not isinstance(betas, list):
        yield "anthropic_beta is no list"
    rest = {name: value for name, value in body.items() if not name.startswith("anthropic_")}
    yield from checking.sdk_problems(INVOKED, compact({**rest, "model": "in the path"}).encode())


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    counted = {
        "inputTokens": usage.input - usage.cached - usage.cache_creation,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
    }
    if usage.cached or usage.cache_creation:
        counted |= {"cacheReadInputTokens": usage.cached, "cacheWriteInputTokens": usage.cache_creation}
    return counted


def _blocks(answer: Answer) -> Iterator[dict[str, Any]]:
    if answer.thinking:
        shown = {"text": answer.thinking, "signature": answer.signature}
        yield {"reasoningContent": {"reasoningText": shown}}
    if answer.redacted_thinking:
        hidden = base64.b64encode(answer.redacted_thinking.encode()).decode()
        yield {"reasoningContent": {"redactedContent": hidden}}
    if text := answer.refusal or answer.text:
        yield {"text": text}
    for each in answer.tools:
        yield {"toolUse": {"toolUseId": each.id, "name": each.name, "input": json.loads(each.arguments)}}


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(_blocks(answer))}},
        "stopReason": STOP[answer.stopped],
        "usage": _usage(answer),
        "metrics": {"latencyMs": 5},
    }


def _stream(answer: Answer) -> Iterator[bytes]:
    yield event("messageStart", {"role": "assistant"})
    tools = iter(answer.tools)
    for index, block in enumerate(_blocks(answer)):
        deltas: list[Any]
        if "toolUse" in block:
            call = {name: block["toolUse"][name] for name in ("toolUseId", "name")}
            yield event("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": call}})
            texts = pieces(next(tools).arguments, answer.pieces)
            deltas = [{"toolUse": {"input": each}} for each in texts]
        elif "text" in block:
            deltas = [{"text": each} for each in pieces(block["text"], answer.pieces)]
        elif "redactedContent" in block["reasoningContent"]:
            deltas = [block]
        else:
            shown = block["reasoningContent"]["reasoningText"]
            texts = pieces(shown["text"], answer.pieces)
            deltas = [{"reasoningContent": {"text": each}} for each in texts]
            deltas.append({"reasoningContent": {"signature": shown["signature"]}})
        for delta in deltas:
            yield event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcdef"})
        yield event("contentBlockStop", {"contentBlockIndex": index})
    yield event("messageStop", {"stopReason": STOP[answer.stopped]})
    yield event("metadata", {"usage": _usage(answer), "metrics": {"latencyMs": 5}})


def _invoked(answer: Answer, received: Received, model: str, *, stream: bool) -> Rendered:
    """What Anthropic's own API would answer, in InvokeModel's wrapping."""
    body = compact({**received.json, "model": model, "stream": stream}).encode()
    rendered = ANTHROPIC.render(answer, replace(received, body=body, path="/v1/messages"))
    if not stream:
        return rendered
    events = (part.partition(b"data: ")[2].strip() for part in rendered.parts)
    return Rendered(
        CONTENT_TYPE,
        tuple(event("chunk", {"bytes": base64.b64encode(each).decode(), "p": "abcd"}) for each in events),
    )


def signature_problems(received: Received, access_key: str, secret_key: str) -> list[str]:
    """Why AWS would not accept the request's signature."""
    matched = AUTHORIZATION.fullmatch(received.header("authorization") or "")
    date = received.header("x-amz-date")
    if not matched or not date:
        return ["no AWS signature"]
    if matched["access"] != access_key:
        return [f"signed with access key {matched['access']}"]
    content_hash = received.header("x-amz-content-sha256") or hashlib.sha256(received.body).hexdigest()
    if content_hash not in (hashlib.sha256(received.body).hexdigest(), "UNSIGNED-PAYLOAD"):
        return ["x-amz-content-sha256 is not the body's"]
    signed = matched["signed"].split(";")
    if missing := {"host", "x-amz-date"} - set(signed):
        return [f"{sorted(missing)} not signed"]
    values = {name: " ".join((received.header(name) or "").split()) for name in signed}
    canonical = "\n".join(
        (
            received.method,
            # AWS (except S3) encodes the path as it came, so what the client had encoded is encoded twice: botocore's
            # SigV4Auth._normalize_url_path.
            quote(received.path, safe="/-_.~"),
            "&".join(sorted(received.query.split("&"))),
            *(f"{name}:{values[name]}" for name in signed),
            "",
            matched["signed"],
            content_hash,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", date, matched["scope"], digest))
    key = f"AWS4{secret_key}".encode()
    for part in matched["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.new(key, text.encode(), "sha256").hexdigest()
    return [] if hmac.compare_digest(expected, matched["signature"]) else ["the AWS signature does not match"]


BEDROCK = BedrockApi()
