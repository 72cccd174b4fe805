"""Vertex AI: `/v1/projects/{project}/locations/{region}/publishers/…`; without a project, where express mode's keys go.

<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>,
<https://docs.anthropic.com/en/api/claude-on-vertex-ai>.
"""

import re
from typing import Final
from urllib.parse import quote

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.anthropic.errors import refuse_thread
from headgate.llm.endpoints import MODEL_PLACEHOLDER, Endpoint
from headgate.llm.errors import RequestError
from headgate.llm.hosts.host import Asked
from headgate.llm.names import DialectName, Operation
from headgate.llm.relay import decode_object, patch_object

ANTHROPIC_VERSION: Final = "vertex-2023-10-16"

COUNT_TOKENS_MODEL: Final = "count-tokens"
"""Stands in the path where tokens are counted; the model that counts is in the body."""

_ALIASES: Final = re.compile(r"@(default|latest)$")
"""compat: what the counting endpoint does not know."""

_DOT_SEGMENTS: Final = frozenset((".", ".."))


def place(endpoint: Endpoint, facts: BackendFacts, asked: Asked) -> str:
    """Google's models by their dialect's path, Anthropic's by `rawPredict` and `streamRawPredict`."""
    if asked.model in _DOT_SEGMENTS:
        raise RequestError(f"there is no model {asked.model!r}", path="model")
    if endpoint.dialect is not DialectName.ANTHROPIC_MESSAGES:
        suffix = endpoint.suffix.replace(MODEL_PLACEHOLDER, _segment(asked))
        return publisher_path(endpoint.dialect, facts.prefix, facts.project, facts.region) + suffix
    models = publisher_path(endpoint.dialect, facts.prefix, facts.project, facts.region) + "/models"
    if endpoint.operation is Operation.COUNT_TOKENS:
        return f"{models}/{COUNT_TOKENS_MODEL}:rawPredict"
    return f"{models}/{_segment(asked)}:{'streamRawPredict' if asked.stream else 'rawPredict'}"


def publisher_path(dialect: DialectName, prefix: str, project: str, region: str) -> str:
    """What stands before `/models`. The prefix is the API's version, `/v1` where there is none."""
    publisher = "anthropic" if dialect is DialectName.ANTHROPIC_MESSAGES else "google"
    place = f"/projects/{quote(project, safe='')}/locations/{quote(region, safe='')}" if project and region else ""
    return f"{prefix or '/v1'}{place}/publishers/{publisher}"


def _segment(asked: Asked) -> str:
    """The model in a path; a version's `@` stays as it is (`claude-sonnet-4@20250514`)."""
    return asked.segment.replace("%40", "@")


def envelope(endpoint: Endpoint, facts: BackendFacts, asked: Asked, body: bytes) -> bytes:
    """Anthropic's body without its model, and with the version that Vertex wants there."""
    if endpoint.dialect is not DialectName.ANTHROPIC_MESSAGES:
        return body
    set_members = {"anthropic_version": msgspec.json.encode(facts.version or ANTHROPIC_VERSION)}
    if endpoint.operation is Operation.COUNT_TOKENS:
        set_members["model"] = msgspec.json.encode(_ALIASES.sub("", asked.model))
        return patch_object(decode_object(body), set_members=set_members)
    source = decode_object(body)
    refuse_thread(source.raw("thread"))
    return patch_object(source, set_members=set_members, remove=("model",))
