"""Vertex AI: Gemini by its own dialect, and Claude's Messages by `rawPredict` and `streamRawPredict`.

<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>,
<https://docs.anthropic.com/en/api/claude-on-vertex-ai>.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from support.providers import checking
from support.providers.answers import Answer, Failure
from support.providers.anthropic_api import ANTHROPIC, MESSAGES, TYPES
from support.providers.gemini_api import GeminiApi
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import compact

MODELS = r"/v1/projects/project-1/locations/us-east5/publishers"

VERTEX_GEMINI = GeminiApi(
    credential_header="authorization",
    credential_format="Bearer {}",
    path=re.compile(MODELS + r"/google/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)"),
)


@dataclass(frozen=True, slots=True)
class VertexAnthropicApi:
    """Claude at Vertex: the version in the body, the model in the path, Google's errors where Vertex itself refuses."""

    credential_header: str = "authorization"

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, f"Bearer {key}")
        matched = PATH.fullmatch(received.path)
        if received.method != "POST" or matched is None:
            return [*found, f"no such path: {received.method} {received.path}"]
        streamed = matched["method"] == "streamRawPredict"
        return found + list(_body_problems(received, allow_unknown, streamed=streamed))

    def render(self, answer: Answer, received: Received) -> Rendered:
        matched = PATH.fullmatch(received.path)
        assert matched, "refused before"
        return ANTHROPIC.render(answer, replace(received, path=MESSAGES, body=_direct(received, matched["model"])))

    def render_failure(self, failure: Failure) -> Rendered:
        return ANTHROPIC.render_failure(failure)

    def headers(self, number: int) -> Mapping[str, str]:
        return {"request-id": f"req_vrtx_{number}"}


PATH = re.compile(MODELS + r"/anthropic/models/(?P<model>[^/:]+):(?P<method>rawPredict|streamRawPredict)")


def _direct(received: Received, model: str) -> bytes:
    """The body as Anthropic's own API takes it."""
    members = {name: value for name, value in received.json.items() if name != "anthropic_version"}
    return compact({**members, "model": model}).encode()


def _body_problems(received: Received, allow_unknown: bool, *, streamed: bool) -> Iterator[str]:
    body: dict[str, Any] = received.json
    if body.get("anthropic_version") != "vertex-2023-10-16":
        yield f"anthropic_version is {body.get('anthropic_version')}"
    if "model" in body:
        yield "model: Extra inputs are not permitted"
    if bool(body.get("stream")) != streamed:
        yield f"stream is {body.get('stream')}, and the path says otherwise"
    judged = replace(received, body=_direct(received, "in-the-path"))
    yield from checking.body_problems(TYPES[MESSAGES], checking.anthropic_messages_rules, judged, allow_unknown)


VERTEX_ANTHROPIC = VertexAnthropicApi()
