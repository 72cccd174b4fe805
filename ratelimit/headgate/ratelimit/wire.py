"""Envoy's rate limit messages as `headgate.limits` values, and back.

`envoy.service.ratelimit.v3.RateLimitRequest` → LimitRequest; Decision → `RateLimitResponse`.

A request-time call and the call at stream end look alike on the wire. What tells them apart, best first:
1. gRPC metadata `x-headgate-moment` with the value `%RESPONSE_CODE%%RESPONSE_FLAGS%`, which Envoy fills in for each
   call: `0-` before there is a response (`100-` where Envoy had to tell the client to go on with its body), `200-`,
   `0DC`… at the end. Our compiler writes it.
2. Otherwise, hits in every descriptor and not all of them zero are a settlement: Envoy sends hits per descriptor only
   where a configuration says so, and losing a charge is worse than counting a refused request (as envoyproxy/ratelimit
   does always).
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from headgate.contract import steering
from headgate.limits.config import TOO_MANY
from headgate.limits.engine import Code, Decision, LimitOverride, LimitRequest, Moment, RequestDescriptor, Status
from headgate.limits.units import COUNT_MAX, Unit
from headgate.pb import overlay_pb2
from headgate.pb.received import parse

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
METHOD: Final = "ShouldRateLimit"
PATH: Final = f"/{SERVICE}/{METHOD}"
BEFORE_RESPONSE: Final = frozenset(("0-", "100-"))
"""`x-headgate-moment` of a call at request time."""

_NEGATIVE: Final = b"\x20\x01"
"""`is_negative_hits: true` as it is on the wire. Where the bytes are nowhere in a request, no descriptor has it."""
_ERRORS_FROM: Final = 400
_UINT32_MAX: Final = 2**32 - 1
_CODES: Final = {Code.OK: RateLimitResponse.OK, Code.OVER_LIMIT: RateLimitResponse.OVER_LIMIT}
_UNITS: Final = {
    Unit.SECOND: RateLimitResponse.RateLimit.SECOND,
    Unit.MINUTE: RateLimitResponse.RateLimit.MINUTE,
    Unit.HOUR: RateLimitResponse.RateLimit.HOUR,
    Unit.DAY: RateLimitResponse.RateLimit.DAY,
    Unit.WEEK: RateLimitResponse.RateLimit.WEEK,
    Unit.MONTH: RateLimitResponse.RateLimit.MONTH,
    Unit.YEAR: RateLimitResponse.RateLimit.YEAR,
    Unit.LIFETIME: RateLimitResponse.RateLimit.UNKNOWN,
}
STATUS: Final = "status"
"""In a refusal's dynamic metadata: which HTTP status it should have where it is not 429, as which Envoy answers all."""


class WireError(Exception):
    """A request that breaks the protocol; the message is for the caller."""


def decode_request(body: bytes, moment_text: str | None = None) -> LimitRequest:
    """A serialized RateLimitRequest; `moment_text` is the value of `x-headgate-moment`. Raises WireError."""
    try:
        message = parse(RateLimitRequest, body)
    except DecodeError as error:
        raise WireError("not a RateLimitRequest") from error
    if not message.domain:
        raise WireError("rate limit domain must not be empty")
    if not message.descriptors:
        raise WireError("rate limit descriptor list must not be empty")
    default_hits = message.hits_addend or 1
    may_be_negative = _NEGATIVE in body
    descriptors = tuple([_descriptor(each, default_hits, may_be_negative) for each in message.descriptors])
    moment = _moment(moment_text, message.descriptors, descriptors)
    return LimitRequest(message.domain, descriptors, moment, _interrupted(moment_text), _choices(descriptors))


def _choices(descriptors: Iterable[RequestDescriptor]) -> tuple[steering.Choice, ...]:
    """The backends that the request may go to, from the descriptor that names them, if there is one."""
    for descriptor in descriptors:
        if descriptor.entries and descriptor.entries[0][0] == steering.BACKEND_ENTRY:
            found = (
                steering.decode_choice(value) for key, value in descriptor.entries if key == steering.BACKEND_ENTRY
            )
            return tuple(choice for choice in found if choice is not None)
    return ()


decode_again: Final = lru_cache(maxsize=2048)(decode_request)
"""`decode_request` for requests that may well come again: checks are equal from call to call of one client."""
REPEATED_BYTES_MAX: Final = 1024
"""Of a request to remember: bounds what is held to some 10 MB."""


def _moment(
    text: str | None, messages: Iterable[RateLimitDescriptor], descriptors: Iterable[RequestDescriptor]
) -> Moment:
    if text is not None:
        return Moment.ADMISSION if text in BEFORE_RESPONSE else Moment.SETTLEMENT
    explicit = all(message.HasField("hits_addend") for message in messages)
    charges = explicit and any(descriptor.hits for descriptor in descriptors)
    return Moment.SETTLEMENT if charges else Moment.ADMISSION


def _interrupted(text: str | None) -> bool:
    """Whether the answer broke off: it has response flags, and is no answer of an error."""
    if not text or text in BEFORE_RESPONSE:
        return False
    flags = text.lstrip("0123456789")
    code = int(text[: len(text) - len(flags)] or 0)
    return flags not in ("", "-") and code < _ERRORS_FROM


def _descriptor(message: RateLimitDescriptor, default_hits: int, may_be_negative: bool) -> RequestDescriptor:
    entries = tuple([(entry.key, entry.value) for entry in message.entries])
    hits = default_hits
    if message.HasField("hits_addend"):
        hits = min(message.hits_addend.value, COUNT_MAX)
        if may_be_negative and hits and _is_negative(message):
            hits = -hits
    override = None
    if message.HasField("limit"):
        override = LimitOverride(message.limit.requests_per_unit, _override_unit(message.limit.unit))
    return RequestDescriptor(entries, hits, override)


def _override_unit(number: int) -> Unit:
    try:
        unit = Unit(number)
    except ValueError:
        unit = Unit.LIFETIME
    if unit is Unit.LIFETIME:
        raise WireError(f"a limit override has the unknown unit {number}")
    return unit


def _is_negative(message: RateLimitDescriptor) -> bool:
    # Field 4, which the wheel does not know and keeps among the unknown fields.
    return overlay_pb2.RateLimitDescriptor.FromString(message.SerializeToString()).is_negative_hits


def encode_decision(
    decision: Decision, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", request: bytes = b""
) -> bytes:
    """A serialized RateLimitResponse. A refusal also names its rule in dynamic metadata; a `request` is told there."""
    # Serialized parts of a message may be concatenated: https://protobuf.dev/programming-guides/encoding/#last-one-wins
    # The statuses, which every answer has, are written out: through the message classes they cost half as much again.
    statuses = b"".join([_encode_status(status) for status in decision.statuses])
    refusal = decision.refusal
    if refusal is None and not (headers or decision.groups or request):
        return _GRANTED + statuses
    response = RateLimitResponse(overall_code=_CODES[decision.code])
    for name, value in headers:
        response.response_headers_to_add.add(key=name, value=value)
    if request:
        response.dynamic_metadata.update(_request_metadata(request, decision))
    if refusal is not None and refusal.rule is not None:
        if body:
            response.raw_body = body
        response.dynamic_metadata.update(
            {
                "domain": refusal.rule.domain,
                "rule": refusal.rule.label,
                "limit": refusal.rule.amount,
                "remaining": refusal.remaining,
                "reset_seconds": refusal.reset_seconds,
            }
        )
        if refusal.rule.refusal_status != TOO_MANY:
            response.dynamic_metadata.update({STATUS: refusal.rule.refusal_status})
    if decision.groups:
        response.dynamic_metadata.update(
            {steering.PRIORITY_GROUPS: [_group(*each) for each in enumerate(decision.groups)]}
        )
    return response.SerializeToString() + statuses


def _request_metadata(body: bytes, decision: Decision) -> dict[str, Any]:
    """What was asked, and the metadata of limits that have room, as envoyproxy/ratelimit tells it."""
    message = parse(RateLimitRequest, body)
    told: dict[str, Any] = {"domain": message.domain, "descriptors": [_told(each) for each in message.descriptors]}
    if message.hits_addend:
        told["hitsAddend"] = float(message.hits_addend)
    metadata: dict[str, Any] = {}
    for status in decision.statuses:
        if status.op is not None and status.code is Code.OK and status.rule is not None and status.rule.metadata:
            _merge(metadata, json.loads(status.rule.metadata))
    return {**told, "metadata": metadata} if metadata else told


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    """What is there already stays, as there; only mappings become one."""
    for name, value in other.items():
        found = into.setdefault(name, value)
        if found is not value and isinstance(found, dict) and isinstance(value, dict):
            _merge(cast("dict[str, Any]", found), cast("dict[str, Any]", value))


def _told(message: RateLimitDescriptor) -> dict[str, Any]:
    told: dict[str, Any] = {"entries": [f"{entry.key}={entry.value}" for entry in message.entries]}
    if message.HasField("limit"):
        told["limit"] = text_format.MessageToString(message.limit, as_one_line=True)
    if message.HasField("hits_addend"):
        told["hitsAddend"] = float(message.hits_addend.value)
    return told


def _group(number: int, clusters: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """The JSON form of Envoy's PriorityGroup."""
    listed = [{"cluster_name": cluster, "weight": float(weight)} for cluster, weight in clusters]
    return {"name": f"steered-{number}", "clusters": listed}


_GRANTED: Final = RateLimitResponse(overall_code=RateLimitResponse.OK).SerializeToString()


def _encode_status(status: Status) -> bytes:
    """Field 2 of the response: a DescriptorStatus of code (1), current_limit (2), limit_remaining (3), reset (4)."""
    fields = _CODE_FIELDS[status.code]
    remaining = b"\x18" + _varint(min(status.remaining, _UINT32_MAX)) if status.remaining else b""
    rule = status.rule
    if rule is None or status.op is None or rule.unit is None:
        fields += remaining
    else:
        fields += _current_limit(rule.amount, rule.unit, rule.name) + remaining + _reset(status.reset_seconds)
    return b"\x12" + _varint(len(fields)) + fields


_CODE_FIELDS: Final = {
    code: RateLimitResponse.DescriptorStatus(code=number).SerializeToString() for code, number in _CODES.items()
}


@lru_cache(maxsize=1024)
def _current_limit(amount: int, unit: Unit, name: str) -> bytes:
    status = RateLimitResponse.DescriptorStatus()
    status.current_limit.requests_per_unit = min(amount, _UINT32_MAX)
    status.current_limit.unit = _UNITS[unit]
    status.current_limit.name = name
    return status.SerializeToString()


@lru_cache(maxsize=1024)
def _reset(seconds: int) -> bytes:
    status = RateLimitResponse.DescriptorStatus()
    status.duration_until_reset.seconds = seconds
    return status.SerializeToString()


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; for numbers from 0."""
    if number < 0x80:
        return _BYTES[number]
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_BYTES: Final = tuple(bytes((number,)) for number in range(0x80))
