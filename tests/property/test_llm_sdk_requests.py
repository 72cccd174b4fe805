"""Every member, kind and word that the providers' own SDKs let a client say is carried, told as lost, or refused.

The requests are made of the SDKs' types (`support.sdk_requests`), so what a new release of an SDK adds is asked for
here without anybody writing it down. Each request says one thing more than the smallest one. Another value of that
thing must change what is sent, or a loss must name the member of the request that it stands in. What may vanish or be
refused is listed, with the reason.
"""

import inspect
import json
import re
from typing import Any, Final

import pytest
from google.genai import models
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan
from headgate.llm.names import DialectName
from pydantic.alias_generators import to_camel
from support.chat_goldens import CLIENTS, TARGETS, bridge, providers_for
from support.providers.gemini_types import GenerateContentRequest, GenerationConfig
from support.sdk_requests import REQUESTS, SAMPLES, in_context
from support.sdk_shapes import Place, Writer, value_at, written
from support.sdk_silence import silent

SAYS_NOTHING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Whom to ask and whether to stream is the gateway's to say; padding against those who watch packets.
        r"^(model|stream|stream_options\.include_obfuscation.*)$",
        # What a value is follows from its other members.
        r"(^|[.\]])(type|role|object)$",
        r"\.source\.media_type$",
        r"\.fileData\.mimeType$",
        r"\.document\.format( .*)?$",
        # Two words, or two kinds, for the same.
        r" \S*(Developer|System)\w* = \S*(Developer|System)\w*$",
        r"role system = developer$",
        r"ContentPartTextParam = ChatCompletionContentPartRefusalParam$",
        r"^tool_choice \w+ = \w*Custom\w*$",
        r"EasyInputMessageParam = Message$",
        r"LocalShellCallOutput = ResponseCustomToolCallOutputParam$",
        r"web_search(_preview)?(_\d+)* = web_search",
        r"WebSearch\w+ = \w*WebSearch",
        r"^service_tier auto = (default|standard_only)$",
        r"^service_tier priority = fast$",
        r"^serviceTier unspecified = standard$",
        r"^speed$",
        r"DocumentSource\.text = DocumentSource\.content$",
        r"audio\.format mp3 = mpeg$",
        # A search is called by one name. A label that no model reads.
        r"^tools\[\d+\]\.name$",
        r"(json_schema|jsonSchema|format)\.name$",
        # A schema binds as much as the provider can bind a model.
        r"(json_schema|format)\.strict( .*)?$",
        # How long a mark for a cache holds, where none is needed.
        r"(cache_control|prompt_cache_breakpoint)\.ttl( .*)?$",
        # That there be a summary is asked for; its length is the provider's.
        r"^reasoning\.(generate_)?summary( .*)?$",
        # OpenAI's words on an item of an answer, which come back with it and ask for nothing.
        r"^input\[\d+\]\.(id|status|phase|max_output_length)( .*)?$",
        r"^input\[\d+\]\.(encrypted_content|environment\.skills.*|content\[\d+\]\.(logprobs|annotations).*)$",
        # Texts that the model did not write cite nothing.
        r"^system\[\d+\]\.citations",
        r"^messages\[\d+\]\.content\[\d+\](\.content\[\d+\])?\.(source\.)?content\[\d+\]\.citations\[",
        # With any other mode than ANY.
        r"allowedFunctionNames\[\d+\]$",
        # Nothing, where no token's likelihood is asked for.
        r"^generationConfig\.logprobs$",
        # Of what is not the model's; of instructions, which are text.
        r"thoughtSignature$",
        r"^systemInstruction\.parts\[\d+\]\.",
        r"\.thought( .*)?$",
        # A result belongs to the call whose id it bears.
        r"^input\[\d+\]\.(name|namespace)$",
        r"^input\[\d+\] FunctionCallOutput = \w+Output",
        # A schema without a schema.
        r"^response_format ResponseFormatJSONSchema = ResponseFormatJSONObject$",
        # Why an answer's picture could not be made, sent back.
        r"\.(image|audio)\.error\.message$",
        # Where in a source the cited words stand.
        r"citations\[\d+\]\.((start|end)_\w+|encrypted_index|search_result_index|type( .*)?)$",
        r"citations\[\d+\] \w+Location\w* = \w+$",
    )
)
"""Places, and pairs of words or kinds at a place, that may vanish."""

SAYS_NOTHING_TO: Final = {
    # It cites documents, asked to or not; and a signature is for those who check it.
    DialectName.COHERE: re.compile(r"\.citations\.enabled( .*)?$|\.signature$"),
}

REFUSED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # A word that was made up, where another was to be tried.
        r": invalid enum value '\w+x'$|^(function_call|tool_choice): must be auto, ",
        r"\.mode: must be AUTO, |\.role: must be ",
        # A place where this cannot stand; an answer to what nobody asked, an item that names no call.
        r"\.functionCall: only the model|^systemInstruction\.parts\[0\]: instructions are text$",
        r"^messages\[0\]\.name: no function_call|\.functionResponse\.name: no functionCall",
        r"^input\[0\]\.call_id: must be given|^input\[0\]\.output: must be a string",
        # What lives at the provider; what only it can do with a conversation.
        r"^(conversation|previous_response_id|prompt|thread|cachedContent|continuationToken): .* kept at",
        r"^input\[0\]: (items are kept at|OpenAI shortens)",
        r"^(background|compaction): ",
        # Legacy completions.
        r"^(prompt|n|suffix): ",
    )
)
"""Refusals, as `path: reason`: what cannot be answered without."""

ADDED: Final = re.compile(r"^(tools|toolConfig\.tools)$|^reasoning\.effort$")
"""Losses that name no member of the request: tools declared for a history's sake, an effort that an item changed."""


def _heads(path: str) -> str:
    return re.split(r"[.\[]", path)[0]


class _Asked:
    """What becomes of requests of one client to one provider."""

    def __init__(self, dialect: DialectName, provider: DialectName, smallest: Any) -> None:
        self.dialect = dialect
        self.provider = provider
        self.plan: Plan = bridge(dialect, provider, **next(iter(TARGETS[provider].values())))
        self.refusals: set[str] = set()
        least = self.sent(smallest)
        assert least is not None, self.refusals
        self.always = least[1]

    def sent(self, document: Any) -> tuple[str, frozenset[str]] | None:
        """All that is sent and told, and the paths of the losses; None where it is refused."""
        body = json.dumps(in_context(self.dialect, document)).encode()
        try:
            request = self.plan.translate_request(body, {":path": CLIENTS[self.dialect].path})
        except RequestError as error:
            self.refusals.add(f"{error.path}: {error}")
            return None
        answered = (request.echo, request.memo, sorted(request.stand_ins.items()))
        told = (request.body, request.path, answered, request.losses)
        return repr(told), frozenset(loss.path for loss in request.losses)

    def reported(self, place: Place, losses: frozenset[str]) -> bool:
        path = written(place)
        return any(
            _heads(loss) == place[0] or loss in place or path.endswith(f".{loss}") for loss in losses - self.always
        )

    def says_nothing(self, path: str) -> bool:
        also = SAYS_NOTHING_TO.get(self.provider)
        return any(each.search(path) for each in SAYS_NOTHING) or (also is not None and also.search(path) is not None)


_ROWS: Final = [
    pytest.param(name, provider, id=f"{name}-{provider}")
    for name, (dialect, _) in REQUESTS.items()
    for provider in providers_for(dialect)
]


@pytest.mark.parametrize(("name", "provider"), _ROWS)
def test_nothing_an_sdk_can_say_vanishes_in_silence(name: str, provider: DialectName) -> None:
    dialect, shape = REQUESTS[name]
    writer = Writer(SAMPLES[dialect])
    asked = _Asked(dialect, provider, writer.smallest(shape))
    assert list(dict.fromkeys(silent(asked, writer.variants(shape), writer))) == []
    assert [each for each in asked.refusals if not any(known.search(each) for known in REFUSED)] == []


_WRITTEN: Final = re.compile(r"setv\(\s*(\w+),\s*\['(\w+)'")
"""Where the SDK writes a member, and its name: `parent_object` is the body, `to_object` its `generationConfig`."""


def test_every_member_that_googles_sdk_writes_is_asked() -> None:
    """The SDK has a type for each member, and none for the body."""
    sources = (inspect.getsource(models._GenerateContentConfig_to_mldev),)  # pyright: ignore[reportPrivateUsage]
    sources += (inspect.getsource(models._GenerateContentConfig_to_vertex),)  # pyright: ignore[reportPrivateUsage]
    written_to = {pair for source in sources for pair in _WRITTEN.findall(source)}
    known = {("parent_object", to_camel(name)) for name in GenerateContentRequest.model_fields}
    known |= {("to_object", field.alias or to_camel(name)) for name, field in GenerationConfig.model_fields.items()}

    assert len(written_to) > 30
    assert written_to - known == set()


def _has(document: Any, path: str) -> bool:
    steps: list[str] = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    marked = steps[-1] == "cache_control"  # it may be a text inside of the block that bears it
    try:
        place = tuple(int(step[1:-1]) if step[0] == "[" else step for step in steps)
        found = json.dumps(value_at(document, place[:-1] if marked else place))
    except (KeyError, IndexError, TypeError):
        return False
    return not marked or '"cache_control"' in found


@pytest.mark.parametrize(("name", "provider"), _ROWS)
def test_a_loss_names_what_the_client_wrote(name: str, provider: DialectName) -> None:
    dialect, shape = REQUESTS[name]
    writer = Writer(SAMPLES[dialect])
    asked = _Asked(dialect, provider, writer.smallest(shape))
    for variant in writer.variants(shape):
        result = asked.sent(variant.document)
        losses = () if result is None else (loss for loss in result[1] if not ADDED.search(loss))
        request = in_context(dialect, variant.document)
        assert [loss for loss in losses if not _has(request, loss)] == []
