"""What must not be told of content: rules, and their use on plain JSON values. Pure.

Shapes of API keys, tokens and private keys are always taken out. Users' regular expressions are looked for in every
text; users' paths name what is taken out whole: `input.*.parts.*.arguments.password`, `**.ssn` (`*` is any member or
item, `**` any number of them). What is left is bounded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from headgate.llm.content import Json

REDACTED: Final = "[redacted]"
TEXT_BYTES_MAX: Final = 16_384
"""Of one text."""
KEY_CHARACTERS_MAX: Final = 8192
"""Behind where a text is cut: what is searched, so that a key at the edge is found whole."""
DEPTH_MAX: Final = 64
"""Of nesting: what is deeper is taken out."""
BYTES_MAX: Final = 131_072
"""Of one attribute: receivers refuse larger ones, or cut them in the middle of the JSON."""

KEYS: Final = re.compile(
    r"\b(?:sk|pk|rk|hg|gsk|xai|pplx|r8|fw|nvapi|sess)-[A-Za-z0-9_-]{8,}"  # OpenAI, Anthropic and many others
    r"|\bsk_(?:live|test)_\w+|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bhf_\w{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}|\bya29\.[\w-]+|\bxox[abeoprs]-[\w-]+"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,4}"  # JSON web tokens; a search that never has to go back
    r"|(?i:\b(?:bearer|basic)\s+)(?=[A-Za-z._~+/-]*\d)[A-Za-z0-9._~+/-]{8,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_NAMES: Final = frozenset(
    {
        "authorization",
        "api_key",
        "apikey",
        "api-key",
        "x-api-key",
        "password",
        "secret",
        "access_token",
        "client_secret",
    }
)
"""Members whose values are credentials, whatever these look like."""


class RulesError(ValueError):
    """The rules cannot be read; one line for the user."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is taken out, and how much may be left."""

    patterns: tuple[re.Pattern[str], ...] = (KEYS,)
    paths: tuple[tuple[str, ...], ...] = ()
    text_bytes_max: int = TEXT_BYTES_MAX
    bytes_max: int = BYTES_MAX


PLAIN: Final = Rules()


class _File(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    regexes: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    text_bytes_max: int = TEXT_BYTES_MAX
    bytes_max: int = BYTES_MAX


def make_rules(value: object) -> Rules:
    """From a file's plain value. Raises RulesError."""
    try:
        said = msgspec.convert({} if value is None else value, _File)
        patterns = tuple(re.compile(text) for text in said.regexes)
    except (msgspec.ValidationError, re.error) as error:
        raise RulesError(str(error)) from None
    if any(pattern.match("") for pattern in patterns):
        raise RulesError("a regular expression matches nothing at all, and so everywhere")
    paths = tuple(tuple(path.removeprefix("$.").split(".")) for path in said.paths)
    return Rules((KEYS, *patterns), paths, max(said.text_bytes_max, 0), max(said.bytes_max, 0))


def redact(value: Json, rules: Rules) -> Json:
    """The value without what the rules take out. Paths begin at `value`."""
    return _redact(value, rules, rules.paths, DEPTH_MAX)


def _redact(value: Json, rules: Rules, paths: Sequence[tuple[str, ...]], depth: int) -> Json:
    if isinstance(value, str):
        return _text(value, rules)
    if not isinstance(value, Mapping | Sequence):
        return value
    if depth == 0:
        return REDACTED
    if isinstance(value, Mapping):
        return {_text(name, rules): _member(name, each, rules, paths, depth - 1) for name, each in value.items()}
    return [_member(str(index), each, rules, paths, depth - 1) for index, each in enumerate(value)]


def _member(name: str, value: Json, rules: Rules, paths: Sequence[tuple[str, ...]], depth: int) -> Json:
    if name.lower() in _NAMES and value is not None:
        return REDACTED
    below = _below(name, paths)
    if any(not path for path in below):
        return REDACTED
    return _redact(value, rules, below, depth)


def _below(name: str, paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What is left of the paths behind a member."""
    found: list[tuple[str, ...]] = []
    for path in paths:
        if path[0] == "**":
            found.append(path)
            if path[1:] and path[1] in (name, "*"):
                found.append(path[2:])
        elif path[0] in (name, "*"):
            found.append(path[1:])
    return found


def _text(text: str, rules: Rules) -> str:
    told = text[: rules.text_bytes_max + KEY_CHARACTERS_MAX]  # no more is searched than can be told
    for pattern in rules.patterns:
        told = pattern.sub(REDACTED, told)
    raw = told.encode("utf-8", "replace")
    if len(raw) <= rules.text_bytes_max and len(text) <= rules.text_bytes_max + KEY_CHARACTERS_MAX:
        return told
    whole = len(text.encode("utf-8", "replace"))
    return f"{raw[: rules.text_bytes_max].decode('utf-8', 'ignore')}… [{whole} bytes]"


def bounded(values: Sequence[Json], rules: Rules) -> list[Json]:
    """The last of the values that fit; what came first is left out, and how much of it is said."""
    kept: list[Json] = []
    size = 2
    for value in reversed(values):
        size += len(msgspec.json.encode(value)) + 1
        if size > rules.bytes_max:
            left_out = len(values) - len(kept)
            kept.append({"role": "headgate", "parts": [{"type": "left_out", "messages": left_out}]})
            break
        kept.append(value)
    return kept[::-1]
