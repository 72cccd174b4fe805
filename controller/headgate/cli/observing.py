"""What the page of `--observe` is made of: the collector's requests and sums, the rate limit service's counters, and
the configuration with what came of it. All of it is asked for when somebody looks, and changes nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
from headgate.cli import words
from headgate.cli.status import Line, summary
from headgate.cli.welcome import curl
from headgate.compiler import ir
from headgate.compiler.lanes import lane_of, reason
from headgate.compiler.lower.limits import header_key
from headgate.compiler.matching import path_class_of
from headgate.contract import headers
from headgate.controller.loop import Build, LoopStatus
from headgate.observe.asking import ask
from headgate.observe.feed import Cursor, Seen
from headgate.observe.page import SourceError
from headgate.observe.shown import Shown

OBJECTS_MAX: Final = 300
PROBLEMS_MAX: Final = 100
COUNTERS_MAX: Final = 60
"""What is shown of each; those that need somebody come first."""
VALUE_MAX: Final = 48
_SECRET_NAME: Final = re.compile(r"auth|cookie|key|token|secret|password|credential|session|signature", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"^(bearer|basic)\s|^(sk|pk|hg|key|ghp|xox[a-z])-|^eyJ|^[A-Za-z0-9+/_=-]{32,}$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where everything is."""

    collector: Path
    ratelimit: Path
    status: Callable[[], LoopStatus]
    ready: Callable[[], bool]
    urls: Callable[[], Sequence[str]]
    children: Callable[[], Mapping[str, Mapping[str, object]]]
    example_model: str
    """A model that is served where no rule names one."""


class Observed:
    """The `Source` of the page. `built` tells it what the configuration means."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._backends: Mapping[str, ir.Backend] = {}
        self._limits: Mapping[str, ir.LimitRule] = {}
        self._program: ir.Program | None = None
        self._objects: tuple[tuple[Mapping[str, object], ...], Mapping[str, Any]] | None = None

    def built(self, build: Build) -> None:
        """A new configuration was made."""
        self._program = build.program
        rules = tuple(_rules(build.program))
        self._backends = {backend.name: backend for rule in rules for backend in rule.backends}
        self._limits = {limit.name: limit for rule in rules for limit in rule.limits}

    # --- requests

    async def seen(self, cursor: Cursor) -> Seen:
        answer = await _asked(self._parts.collector, "/observe", "the collector", msgspec.json.encode(cursor))
        seen = msgspec.json.decode(answer, type=Seen)
        return msgspec.structs.replace(seen, requests=tuple(map(self._explained, seen.requests)))

    def _explained(self, request: Shown) -> Shown:
        attempts = tuple(
            msgspec.structs.replace(attempt, why=self._why(request.path, attempt.backend))
            for attempt in request.attempts
        )
        return msgspec.structs.replace(request, attempts=attempts)

    def _why(self, path: str, name: str) -> str:
        """Why the backend is served in its lane, in the words of `headgate explain`."""
        backend = self._backends.get(name)
        if backend is None or backend.dialect is None:
            return ""
        path_class = path_class_of(path)
        return f"{lane_of(path_class, backend) or 'not served'}: {reason(path_class, backend)}"

    # --- limits

    async def limits(self) -> object:
        if not self._limits:
            return {"counters": [], "unused": []}
        answer = await _asked(self._parts.ratelimit, "/limits", "the rate limit service")
        found: Mapping[str, Any] = msgspec.json.decode(answer)
        counters: list[Mapping[str, Any]] = []
        unused: list[Mapping[str, Any]] = []
        for limit in found["limits"]:
            known = self._described(limit)
            if not limit.get("counters"):
                unused.append(known)
            counters += ({**known, **_counter(each)} for each in limit.get("counters", ()))
        counters.sort(key=lambda each: -_share(each))
        return {
            "counters": counters[:COUNTERS_MAX],
            "more": max(len(counters) - COUNTERS_MAX, 0),
            "unused": unused[:COUNTERS_MAX],
            "error": found.get("storage_error", ""),
        }

    def _described(self, limit: Mapping[str, Any]) -> Mapping[str, Any]:
        """What it is called and what it counts."""
        name = str(limit.get("name") or limit["rule"])
        known = self._limits.get(name)
        return {
            "name": name,
            "what": known.what if known is not None else "",
            "words": words.limit(known) if known is not None else "",
            "amount": limit.get("burst") or limit["amount"],
            "per": limit.get("unit", ""),
            "shadow": bool(limit.get("shadow_mode")),
            "pool": limit.get("pool", {}).get("name", ""),
        }

    # --- configuration

    def configuration(self) -> object:
        status, urls = self._parts.status(), tuple(self._parts.urls())
        problems = tuple(status.problems)
        return {
            "ready": self._parts.ready(),
            "urls": urls,
            "try": self._try(urls),
            "wanted": status.wanted,
            "accepted": status.accepted,
            "error": status.error,
            "refusals": status.refusals[:PROBLEMS_MAX],
            "problems": problems[:PROBLEMS_MAX],
            "more_problems": max(len(problems) - PROBLEMS_MAX, 0),
            "children": self._parts.children(),
            **self._object_lines(status.objects),
        }

    def _try(self, urls: Sequence[str]) -> str:
        """A request that works."""
        if not urls:
            return ""
        guarded = any(listener.auth is not None for listener in _listeners(self._program))
        guarded = guarded or any(rule.auth is not None for rule in _rules(self._program))
        return curl(urls[0], model_of(self._program) or self._parts.example_model, key="$KEY" if guarded else "")

    def _object_lines(self, objects: tuple[Mapping[str, object], ...]) -> Mapping[str, Any]:
        if self._objects is None or self._objects[0] is not objects:
            lines = sorted(map(summary, objects), key=lambda line: line.in_force)
            told = {
                "objects": [_object(line) for line in lines[:OBJECTS_MAX]],
                "in_force": sum(line.in_force for line in lines),
                "object_count": len(lines),
            }
            self._objects = objects, told
        return self._objects[1]


async def _asked(socket: Path, path: str, who: str, body: bytes | None = None) -> bytes:
    try:
        return await ask(socket, path, body)
    except SourceError as error:
        raise SourceError(f"{who} does not answer now: {error}") from None


def _listeners(program: ir.Program | None) -> Iterator[ir.Listener]:
    for port in () if program is None else program.ports:
        yield from port.listeners


def _rules(program: ir.Program | None) -> Iterator[ir.Rule]:
    for listener in _listeners(program):
        for host in listener.hosts:
            yield from host.all_rules


def model_of(program: ir.Program | None) -> str:
    """A model that a rule names."""
    for rule in _rules(program):
        for match in rule.matches if rule.ai and rule.backends else ():
            for header in match.headers:
                if header.name == headers.MODEL and header.kind is ir.MatchKind.EXACT:
                    return header.value
    return ""


def _object(line: Line) -> Mapping[str, Any]:
    return {
        "name": line.name,
        "in_force": line.in_force,
        "holds": line.holds,
        "fails": [{"type": kind, "reason": why, "message": message} for kind, why, message in line.fails],
        "below": [_object(each) for each in line.below],
    }


def _counter(counter: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = [(str(each["key"]), str(each["value"])) for each in counter["descriptor"]]
    return {
        "who": [{"key": key, "value": told(key, value)} for key, value in entries if key not in ("rule",)],
        "used": counter["used"],
        "remaining": counter["remaining"],
        "reset_seconds": counter["reset_seconds"],
    }


def _share(counter: Mapping[str, Any]) -> float:
    whole = float(counter["used"]) + float(counter["remaining"])
    return float(counter["used"]) / whole if whole else 1.0


def told(key: str, value: str) -> str:
    """The value that a limit counts by; a mark in its place where it may be somebody's secret.

    Limits may count by any header. A name or a value that looks like a credential is not shown, nor is a long one.
    """
    of_header = key.startswith(header_key(""))
    if (of_header and _SECRET_NAME.search(key)) or _SECRET_VALUE.search(value) or len(value) > VALUE_MAX:
        return f"#{blake2b(value.encode(), digest_size=4).hexdigest()}"
    return value
