"""The answers of every provider's dialect of chat, as its own SDK declares them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import botocore.session
from anthropic.types.beta import BetaMessage
from cohere import V2ChatResponse
from google.genai.types import GenerateContentResponse
from headgate.llm.names import DialectName
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from support.sdk_requests import READER, READER_OF_GOOGLE
from support.sdk_requests import SAMPLES as REQUEST_SAMPLES
from support.sdk_shapes import Samples, Shape, of_botocore

_SESSION: Any = botocore.session


def _converse() -> Shape:
    model: Any = _SESSION.get_session().get_service_model("bedrock-runtime")
    return of_botocore(model.operation_model("Converse").output_shape)


_GOOGLE: Final = replace(
    READER_OF_GOOGLE,
    needed={
        **READER_OF_GOOGLE.needed,
        "GenerateContentResponse": frozenset(("candidates",)),
        "Candidate": frozenset(("content",)),
    },
)

ANSWERS: Final[Mapping[DialectName, Shape]] = {
    DialectName.OPENAI_CHAT: READER.shape_of(ChatCompletion),
    DialectName.OPENAI_RESPONSES: READER.shape_of(Response),
    DialectName.ANTHROPIC_MESSAGES: READER.shape_of(BetaMessage),
    DialectName.GEMINI: _GOOGLE.shape_of(GenerateContentResponse),
    DialectName.BEDROCK_CONVERSE: _converse(),
    DialectName.COHERE: READER.shape_of(V2ChatResponse),
}


_OWN_SAMPLES: Final[Mapping[DialectName, Samples]] = {
    DialectName.OPENAI_CHAT: {"finish_reason": ("stop", "length"), "index": (0, 0)},
    DialectName.OPENAI_RESPONSES: {"status": ("completed", "incomplete")},
    DialectName.GEMINI: {
        "createTime": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        "index": (0, 0),
        # Of the SDK alone: no provider sends them.
        **dict.fromkeys(("sdkHttpResponse", "automaticFunctionCallingHistory", "parsed"), (None, None)),
    },
    DialectName.COHERE: {
        "start": (1, 2),
        "end": (4, 5),
        "input_tokens": (2, 3),
        "output_tokens": (2, 3),
        "cached_tokens": (1, 2),
    },
}

TEXT: Final = "Some words."

SAMPLES: Final[Mapping[DialectName, Samples]] = {
    dialect: {**samples, "text": (TEXT, "Other words."), **_OWN_SAMPLES.get(dialect, {})}
    for dialect, samples in REQUEST_SAMPLES.items()
}


def in_context(dialect: DialectName, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer with what it needs to mean something, all places as they were."""
    whole: dict[str, Any] = copy.deepcopy({**document})
    match dialect:
        case DialectName.OPENAI_CHAT:
            for choice in whole["choices"]:
                if "audio" not in choice["message"]:
                    choice["message"].setdefault("content", TEXT)
        case DialectName.COHERE:
            whole["message"].setdefault("content", [{"type": "text", "text": TEXT}])
        case DialectName.BEDROCK_CONVERSE:
            for block in whole["output"].get("message", {}).get("content", ()):
                if "citationsContent" in block:
                    block["citationsContent"].setdefault("content", [{"text": TEXT}])
        case DialectName.GEMINI:
            if "usageMetadata" in whole:
                whole["usageMetadata"].setdefault("promptTokenCount", 9)
            for candidate in whole["candidates"]:
                candidate["content"]["parts"].append({"text": TEXT})
                likely = candidate.get("logprobsResult", {})
                likely.setdefault("chosenCandidates", [{"token": "a", "logProbability": -0.5}])
        case _:
            pass
    return whole
