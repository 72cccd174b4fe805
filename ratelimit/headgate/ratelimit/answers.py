"""What a refused client reads: the body in its dialect, and headers.

Envoy tells us the client's path in gRPC metadata (`x-headgate-path: %REQ(:path)%`), and the path says the dialect.
Without it the body is left to Envoy. `x-ratelimit-*` are Envoy's to add (`enable_x_ratelimit_headers`, on granted
answers too); it would keep ours beside its own, so they are off unless asked for.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from headgate.contract.headers import LIMIT_WARNING
from headgate.limits.config import PAYMENT_REQUIRED
from headgate.limits.engine import Decision, Status
from headgate.limits.matching import Rule
from headgate.limits.units import Unit
from headgate.limits.warnings import reached


class _Reason(NamedTuple):
    """Why a request is refused, in the words of each dialect."""

    status: int
    openai_type: str
    openai_code: str
    anthropic: str
    google: str
    aws: str


_RATE: Final = _Reason(
    429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "ThrottlingException"
)
_POOL: Final = _RATE._replace(openai_code="prioritization_gate_denied")
_BUDGET: Final = _Reason(
    402, "insufficient_quota", "budget_exceeded", "billing_error", "RESOURCE_EXHAUSTED", "ServiceQuotaExceededException"
)

Body = Callable[[str, _Reason], bytes]


def _openai(message: str, reason: _Reason) -> bytes:
    error = {"message": message, "type": reason.openai_type, "param": None, "code": reason.openai_code}
    return json.dumps({"error": error}).encode()


def _anthropic(message: str, reason: _Reason) -> bytes:
    return json.dumps({"type": "error", "error": {"type": reason.anthropic, "message": message}}).encode()


def _google(message: str, reason: _Reason) -> bytes:
    return json.dumps({"error": {"code": reason.status, "message": message, "status": reason.google}}).encode()


def _aws(message: str, reason: _Reason) -> bytes:
    return json.dumps({"__type": reason.aws, "message": message}).encode()


def _cohere(message: str, reason: _Reason) -> bytes:
    del reason
    return json.dumps({"message": message}).encode()


_BODIES: Final = (
    # Not every ".../messages": OpenAI's threads have them too.
    (re.compile("/v1/messages/|/anthropic/"), _anthropic),
    (re.compile("/v1beta/models/|/v1/models/[^/]+:[a-zA-Z]+Content/"), _google),
    (re.compile("/model/[^/]+/(converse|invoke)"), _aws),
    (re.compile("/v2/(chat|rerank|embed)/"), _cohere),
)
"""By what the path contains, query left out and "/" added; anything else speaks OpenAI's shape."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Response headers to add, and the body of a refusal (empty leaves it to Envoy)."""

    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


NO_ANSWER: Final = Answer()

LIMIT_HEADERS: Final = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


def answer(decision: Decision, *, path: str | None, limit_headers: Sequence[str] = ()) -> Answer:
    """What to add to the response of a request to `path` (None: unknown); the names of three headers, if any."""
    refusal = decision.refusal
    warnings = ", ".join([f"{rule.label};used={share}%" for rule, share in reached(decision)])
    if refusal is None and not limit_headers and not warnings:
        return NO_ANSWER
    headers = _limit_headers(decision, limit_headers) if limit_headers else ()
    if warnings:
        headers = (*headers, (LIMIT_WARNING, warnings))
    if refusal is None:
        return Answer(headers)
    rule = refusal.rule
    if rule is None or rule.unit is not Unit.LIFETIME:
        headers = (("retry-after", str(refusal.reset_seconds)), *headers)
    if path is None or rule is None:
        return Answer(headers)
    body = _body(path)(refusal_message(rule, refusal.reset_seconds), _reason(rule))
    return Answer((("content-type", "application/json"), *headers), body)


def refusal_message(rule: Rule, reset_seconds: int) -> str:
    """One sentence for people. It does not say what is counted (requests or tokens): a limit does not know. A budget's
    amount is left out: it is in millionths of a dollar."""
    budget = rule.refusal_status == PAYMENT_REQUIRED
    amount = "" if budget else f" of {rule.amount}"
    if rule.unit is Unit.LIFETIME:
        return f"{'Budget' if budget else 'Limit'} {rule.label!r}{amount and f'{amount} in all'} is used up."
    unit = "" if rule.unit is None else f" per {rule.unit.name.lower()}"
    unit_seconds = "second" if reset_seconds == 1 else "seconds"
    if rule.bounds:
        own = rule.bounds[rule.own]
        of = f"pool {own.name!r}" if own.name else "those who are in no pool"
        return (
            f"What {of} may have of {'budget' if budget else 'rate limit'} {rule.label!r}{amount}{unit} is used up: "
            f"from {own.least} to {own.most}, as others need it. Try again within {reset_seconds} {unit_seconds}."
        )
    what = "Budget" if budget else "Rate limit"
    return f"{what} {rule.label!r}{amount}{unit} is used up. Try again in {reset_seconds} {unit_seconds}."


def _reason(rule: Rule) -> _Reason:
    return _BUDGET if rule.refusal_status == PAYMENT_REQUIRED else _POOL if rule.bounds else _RATE


def _body(path: str) -> Body:
    path = path.partition("?")[0] + "/"
    return next((body for part, body in _BODIES if part.search(path)), _openai)


def _limit_headers(decision: Decision, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Those of the refusal, else of the limit with the least remaining."""
    nearest = decision.refusal or _nearest(decision)
    if nearest is None or nearest.rule is None:
        return ()
    return tuple(zip(names, map(str, (nearest.rule.amount, nearest.remaining, nearest.reset_seconds)), strict=True))


def _nearest(decision: Decision) -> Status | None:
    counted = [status for status in decision.statuses if status.op is not None]
    return min(counted, key=lambda status: status.remaining, default=None)
