"""Every member of a client's request is carried, or named in the losses: taking it away changes what is sent or said.

The recorded requests hold every member that their dialects know (`every_parameter` and its siblings); each is taken
away in turn. A member inside of what is reported as a whole is reported with it.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from headgate.llm.dialects.gemini.schema import is_list, is_object
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, TARGETS, bridge, cases, providers_for

Place = tuple[str | int, ...]

SCHEMAS: Final = frozenset(
    (
        "parameters",
        "schema",
        "input_schema",
        "inputSchema",
        "json",
        "arguments",
        "input",
        "args",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
    )
)
"""What stays as it is: JSON that nobody looks into."""

SAID_ELSEWHERE: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # What a value is follows from its other members.
        r"(^|\.)(type|role|format|mimeType|media_type|object)$",
        # What happens anyway, or what another member says as well.
        r"^(n|background|store|truncation|include|stream_options.*|moderation|service_tier|safety_mode)$",
        r"^(parallel_tool_calls|tool_choice\.disable_parallel_tool_use|response_format\.json_schema\.strict)$",
        r"^text\.(format|verbosity|format\.strict)$",
        r"(^|\.)(reasoning_content|display|includeThoughts|thinking_config|strict|functionResponse\.id|status)$",
        r"(^|\.)functionCall\.id$",
        # Less than what a model does that does not think, or thinks as it likes; signatures of what is not sent.
        r"^(thinking|(input\[\d+\]\.)?reasoning|generationConfig|generationConfig\.thinkingConfig(\.thinkingBudget)?)$",
        r"(^|\.)(thoughtSignature|parts(\[\d+\]\.text)?)$",
        # Where in a source the cited words stand: the citation goes on without.
        r"(citations|annotations)\[\d+\]\..*(end|start|end_char_index|start_char_index|text|id|document)$",
        # The only value that others have.
        r"^generationConfig\.responseModalities$",
        # What only OpenAI can open; the text beside it is carried.
        r"^input\[\d+\]\.(id|encrypted_content)$",
        # The text of what an agent says to another names both.
        r"^input\[\d+\]\.(author|recipient)$",
        # A search is called by one name.
        r"^tools\[\d+\]\.name$",
        r"^(tool_choice|toolConfig\.toolChoice|text)$",
        # A label that no model reads.
        r"(json_schema|jsonSchema|format)\.name$",
    )
)

_PART_OF_MESSAGE: Final = re.compile(r"^((?:messages|contents|input|system)(?:\[\d+\])?)")


def _places(value: Any, at: Place = ()) -> Iterator[Place]:
    if is_object(value):
        for name, inner in value.items():
            yield (*at, name)
            if name not in SCHEMAS or (name == "input" and not at):
                yield from _places(inner, (*at, name))
    elif is_list(value):
        for index, inner in enumerate(value):
            yield from _places(inner, (*at, index))


def _without(document: Any, place: Place) -> Any:
    copied = copy.deepcopy(document)
    holder = copied
    for step in place[:-1]:
        holder = holder[step]
    del holder[place[-1]]
    return copied


def _value(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def _path(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def _sent(plan: Plan, dialect: DialectName, document: Any) -> tuple[object, ...]:
    request = plan.translate_request(json.dumps(document).encode(), {":path": CLIENTS[dialect].path})
    losses = tuple((loss.path, loss.action, loss.reason) for loss in request.losses)
    return request.body, request.path, request.memo, request.stream, request.original_model, losses


def _reported(path: str, losses: list[str]) -> bool:
    message = _PART_OF_MESSAGE.match(path)
    for loss in losses:
        if path.startswith(loss) or loss.startswith(path):
            return True
        if message is not None and loss.startswith(message[1]):
            return True
        # Tools that a choice leaves out, reasoning: told once, by their name. Of marks for a cache the first is told.
        # (Cohere's `k` and `p` are in many words.)
        if len(loss) > 1 and loss in path:
            return True
        if loss in _TOOL_CHOICES and path.startswith(("tools", "toolConfig", "tool_config")):
            return True
        if loss in ("reasoning_effort", "thinking", "output_config.effort") and _THINKING.search(path):
            return True
        if "cache" in loss.rpartition(".")[2].lower() and "cache" in path.lower():
            return True
    return False


_TOOL_CHOICES: Final = ("tool_choice", "toolConfig.toolChoice", "toolConfig.functionCallingConfig")
_THINKING: Final = re.compile("thinking|reasoning|effort|output_config", re.IGNORECASE)

ROWS: list[Any] = [
    pytest.param(dialect, path, provider, id=f"{dialect}-{path.stem}-{provider}")
    for dialect, path in cases("requests", ".json")
    for provider in providers_for(dialect)
]


@pytest.mark.parametrize(("dialect", "path", "provider"), ROWS)
def test_no_member_vanishes_in_silence(dialect: DialectName, path: Path, provider: DialectName) -> None:
    document = json.loads(path.read_text())
    plan = bridge(dialect, provider, **next(iter(TARGETS[provider].values())))
    request = plan.translate_request(json.dumps(document).encode(), {":path": CLIENTS[dialect].path})
    losses = [loss.path for loss in request.losses]
    whole = _sent(plan, dialect, document)
    silent: list[str] = []
    for place in _places(document):
        written = _path(place)
        if any(each.search(written) for each in SAID_ELSEWHERE) or _reported(written, losses):
            continue
        if _value(document, place) in (
            None,
            [],
            {},
            "",
            False,
            "auto",
            "none",
            "{}",
            0,
            1,
            True,
            "default",
            "disabled",
        ):
            continue  # a default, spelled out
        if provider is DialectName.COHERE and written.endswith(".citations"):
            continue  # it cites documents, asked to or not
        try:
            if _sent(plan, dialect, _without(document, place)) == whole:
                silent.append(written)
        except RequestError:
            pass  # it is needed
    assert silent == []


ANSWERED: Final = re.compile(
    r"(citations|annotations|thinking_blocks)\[\d+\]|citationsContent|\.caller\.|reasoning_content\."
)
"""An answer that comes back: what it says besides is its provider's, and asks for nothing."""


@pytest.mark.parametrize(("dialect", "path", "provider"), ROWS)
def test_no_unknown_member_vanishes_in_silence(dialect: DialectName, path: Path, provider: DialectName) -> None:
    document = json.loads(path.read_text())
    plan = bridge(dialect, provider, **next(iter(TARGETS[provider].values())))
    request = plan.translate_request(json.dumps(document).encode(), {":path": CLIENTS[dialect].path})
    losses = [loss.path for loss in request.losses]
    whole = _sent(plan, dialect, document)
    silent: list[str] = []
    for place in [(), *_places(document)]:
        unheard = _path((*place, "unheard"))
        if not is_object(_value(document, place)) or ANSWERED.search(unheard) or _reported(unheard, losses):
            continue
        with_one = copy.deepcopy(document)
        _value(with_one, place)["unheard"] = {"of": 1}
        try:
            if _sent(plan, dialect, with_one) == whole:
                silent.append(_path(place))
        except RequestError:
            pass  # Google's clients and Bedrock's are refused: their providers do the same
    assert silent == []
