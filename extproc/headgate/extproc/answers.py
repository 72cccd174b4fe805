"""Our own answers to clients: errors in the dialect of the endpoint they called."""

from typing import Final

from headgate.extproc.events import NO_NAMESPACES, Headers, Namespaces, Reject
from headgate.llm.dialects.dialect import ReplyContext
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint
from headgate.llm.error_bodies import error_response
from headgate.llm.errors import ErrorDetail, ErrorKind
from headgate.llm.names import DialectName

JSON_HEADERS: Final[Headers] = {"content-type": "application/json"}

INTERNAL_ERROR: Final = ErrorDetail(
    status=500, kind=ErrorKind.INTERNAL, message="the gateway failed to process this request", code="internal_error"
)
"""What a bug of ours is answered with; its trace is in the log only."""


def encode_error(endpoint: Endpoint | None, detail: ErrorDetail) -> bytes:
    """The error body that a client of this endpoint expects; OpenAI's where the path is none of ours."""
    return error_response(
        DialectName.OPENAI_CHAT if endpoint is None else endpoint.dialect,
        detail.status,
        detail.message,
        kind=detail.kind,
        code=detail.code,
        param=detail.param,
    )


def encode_error_event(endpoint: Endpoint | None, detail: ErrorDetail) -> bytes:
    """The same as an event, for a stream whose headers are out."""
    if endpoint is not None and endpoint.dialect is DialectName.BEDROCK_CONVERSE:
        return DIALECTS[endpoint.dialect].stream_encoder(ReplyContext(model="", created=0)).fail(detail)
    named = endpoint is not None and endpoint.dialect is DialectName.ANTHROPIC_MESSAGES
    return (b"event: error\ndata: " if named else b"data: ") + encode_error(endpoint, detail) + b"\n\n"


def reject(endpoint: Endpoint | None, detail: ErrorDetail, *, metadata: Namespaces = NO_NAMESPACES) -> Reject:
    """The error as Envoy's own answer."""
    return Reject(
        status=detail.status,
        headers=JSON_HEADERS,
        body=encode_error(endpoint, detail),
        details=f"headgate_{detail.code or detail.kind}",
        metadata=metadata,
    )
