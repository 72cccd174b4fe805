"""What the gateway itself answers: errors in the client's dialect, and `/v1/models`.

Envoy's filters answer errors as plain text; `local_reply_config` wraps each into the body of the client's dialect, told
by the client's path. Answers that are already JSON (model lists, the processor's errors) pass as they are.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    ComparisonFilter,
    ExtensionFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import HeaderValueOption, RuntimeUInt32
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteList, RouteMatch
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from headgate.compiler.lanes import CLASSES
from headgate.compiler.lower import limits
from headgate.compiler.lower.filters import extraction, overrides
from headgate.compiler.lower.filters.extraction import ERROR_JSON, ERROR_KEY, JSON_TYPES
from headgate.compiler.lower.routes import answered, metadata_matcher, path_under, pattern_under, unknown_model
from headgate.compiler.lower.wire import inline, literal, packed, regex, set_header, struct
from headgate.compiler.options import Options
from headgate.contract import headers, metadata
from headgate.limits.config import PAYMENT_REQUIRED

_PROCESSOR_FAILED = "response.code_details.startsWith('ext_proc_error')"

_SERVER_ERROR = 500
"""As a status of a row, every one from there."""


class _Row(NamedTuple):
    """A value for a status, where the test in CEL, if there is one, holds."""

    status: int
    value: str
    when: str = ""

    @property
    def test(self) -> str:
        return f"response.code {'>=' if self.status == _SERVER_ERROR else '=='} {self.status}"

    def may_hold(self, status: int) -> bool:
        """For an answer's status; 0 is not known."""
        return status in (0, self.status) or status >= self.status == _SERVER_ERROR


_ANTHROPIC_TYPES = (
    _Row(401, "authentication_error"),
    _Row(403, "permission_error"),
    _Row(404, "not_found_error"),
    _Row(413, "request_too_large"),
    _Row(429, "rate_limit_error"),
    _Row(503, "overloaded_error"),
    _Row(504, "timeout_error"),
    _Row(_SERVER_ERROR, "api_error"),
)
_BEDROCK_TYPES = (
    _Row(401, "UnrecognizedClientException"),
    _Row(403, "AccessDeniedException"),
    _Row(404, "ResourceNotFoundException"),
    _Row(429, "ThrottlingException"),
    _Row(503, "ServiceUnavailableException"),
    _Row(504, "ModelTimeoutException"),
    _Row(_SERVER_ERROR, "InternalServerException"),
)
_OPENAI_TYPES = (
    _Row(401, "authentication_error"),
    _Row(403, "permission_error"),
    _Row(429, "rate_limit_error"),
    _Row(_SERVER_ERROR, "server_error"),
)
_GOOGLE_STATUSES = (
    _Row(401, "UNAUTHENTICATED"),
    _Row(403, "PERMISSION_DENIED"),
    _Row(404, "NOT_FOUND"),
    _Row(429, "RESOURCE_EXHAUSTED"),
    _Row(503, "UNAVAILABLE"),
    _Row(504, "DEADLINE_EXCEEDED"),
    _Row(_SERVER_ERROR, "INTERNAL"),
)
_MODEL_KNOWN = (
    f"'{metadata.INTERNAL}' in metadata.filter_metadata"
    f" && '{metadata.INTERNAL_MODEL}' in metadata.filter_metadata['{metadata.INTERNAL}']"
)
_DENIED = "response.code_details == 'ext_authz_denied'"
_JSON_ANSWER = "'content-type' in response.headers && response.headers['content-type'].startsWith('application/json')"
"""What a service or filter that a user put here, or the processor, answers in words of its own."""
_WRITTEN = "response.code_details == 'direct_response' && 'content-type' in response.headers"
"""An HTTPRouteFilter's answer: ours get their content type with their dialect."""
_UNAUTHORIZED = "response.code_details.startsWith('rbac_access_denied')"
_ASKS_FOR_MODEL = "request.method == 'GET' && request.path.contains('/v1/models/')"
_OPENAI_CODES = (
    _Row(401, "invalid_api_key"),
    _Row(404, "model_not_found", _MODEL_KNOWN),
    _Row(404, "model_not_found", _ASKS_FOR_MODEL),
    _Row(404, "not_found"),
    _Row(405, "method_not_allowed"),
    _Row(413, "request_too_large"),
    _Row(429, "rate_limit_exceeded"),
    _Row(503, "service_unavailable"),
    _Row(504, "timeout"),
    _Row(_SERVER_ERROR, "internal_error"),
)


def _choice(rows: Sequence[_Row], otherwise: str, status: int) -> str:
    """The value of the first row that holds: as it is where the answer's status tells it, else as CEL. Each expression
    is half a millisecond of Envoy's at every change of a listener, and there is one for each of a hundred answers."""
    result = f"'{otherwise}'"
    for row in reversed([row for row in rows if row.may_hold(status)]):
        test = " && ".join(filter(None, ("" if status else row.test, row.when)))
        result = f"{test} ? '{row.value}' : {result}" if test else f"'{row.value}'"
    return f"%CEL({result})%" if "?" in result else result.strip("'")


def _client_path(pattern: str, root: str) -> str:
    """A CEL test on what the client's path begins with: below the root, or as the upstream script keeps it, without."""
    # neither CEL nor RE2 reads anything into these
    escaped = "".join(c if c.isalnum() or c in "/_-" else f"\\\\x{ord(c):02x}" for c in root.rstrip("/"))
    stored = f"metadata.filter_metadata['{metadata.INTERNAL}']"
    known = f"'{metadata.INTERNAL}' in metadata.filter_metadata && '{metadata.INTERNAL_PATH}' in {stored}"
    kept = f"{stored}['{metadata.INTERNAL_PATH}']"
    return f"{known} ? {kept}.matches('^{pattern}') : request.path.matches('^{escaped}{pattern}')"


_REFUSED_BY_US = (
    f"'{limits.METADATA}' in metadata.filter_metadata && 'rule' in metadata.filter_metadata['{limits.METADATA}']"
)
"""What our rate limit service tells of a refusal."""
_BUDGET_EXCEEDED = (
    f"{_REFUSED_BY_US} && 'status' in metadata.filter_metadata['{limits.METADATA}']"
    f" && int(metadata.filter_metadata['{limits.METADATA}']['status']) == {PAYMENT_REQUIRED}"
)


def _bedrock_format(message: str, status: int) -> SubstitutionFormatString:
    """AWS's SDKs raise the class that `__type` names."""
    body = {"__type": _choice(_BEDROCK_TYPES, "ValidationException", status), "message": message}
    return SubstitutionFormatString(json_format=struct(body), content_type="application/json")


def _anthropic_format(message: str, status: int) -> SubstitutionFormatString:
    error = {"type": _choice(_ANTHROPIC_TYPES, "invalid_request_error", status), "message": message}
    body = {"type": "error", "error": error, "request_id": "%REQ(X-REQUEST-ID)%"}
    return SubstitutionFormatString(json_format=struct(body), content_type="application/json")


def _openai_format(message: str, status: int) -> SubstitutionFormatString:
    error = {
        "message": message,
        "type": _choice(_OPENAI_TYPES, "invalid_request_error", status),
        "param": None,
        "code": _choice(_OPENAI_CODES, "invalid_request", status),
    }
    return SubstitutionFormatString(json_format=struct({"error": error}), content_type="application/json")


def _either_format(message: str, status: int) -> SubstitutionFormatString:
    """OpenAI's error and Anthropic's in one: each client finds its own members."""
    result = _openai_format(message, status)
    result.json_format["type"] = "error"
    return result


def _google_format(message: str, status: int) -> SubstitutionFormatString:
    error = {
        "code": "%RESPONSE_CODE%",
        "message": message,
        "status": _choice(_GOOGLE_STATUSES, "INVALID_ARGUMENT", status),
    }
    return SubstitutionFormatString(json_format=struct({"error": error}), content_type="application/json")


def _bare_format(message: str, status: int) -> SubstitutionFormatString:
    """Cohere's errors."""
    del status
    return SubstitutionFormatString(json_format=struct({"message": message}), content_type="application/json")


_Format = Callable[[str, int], SubstitutionFormatString]
"""Of a message, and of the answer's status where it is known, else 0."""
_FORMATS: tuple[tuple[str, _Format], ...] = (
    ("(/anthropic/|/v1/messages).*", _anthropic_format),
    ("(/gemini)?/v1(beta/|/models/.*Content)", _google_format),
    ("/(bedrock/|model/|guardrail/|async-invoke).*", _bedrock_format),
    ("(/cohere)?/v2/.*", _bare_format),
)
"""Dialects but OpenAI's, told by what the client's path begins with."""
_Spoken = Sequence[tuple[str, _Format]]
"""Likewise, told by CEL."""


def _mappers(
    spoken: _Spoken, when: str, message: str, *, status: int = 0, otherwise: _Format = _openai_format
) -> list[ResponseMapper]:
    """What is said in each dialect where the condition holds; `otherwise` is for OpenAI's and for an unknown path."""
    result = [_mapper(_cel(f"{when} && ({test})"), said(message, status), status) for test, said in spoken]
    return [*result, _mapper(_cel(when), otherwise(message, status), status)]


def _verbatim(content_type: str = "application/json") -> SubstitutionFormatString:
    """What was said, of that type where it has none of its own."""
    return SubstitutionFormatString(text_format_source=inline("%LOCAL_REPLY_BODY%"), content_type=content_type)


def _cel(expression: str) -> AccessLogFilter:
    message = ExpressionFilter(expression=expression)
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel", typed_config=packed(message)
        )
    )


def _no_error() -> AccessLogFilter:
    value = RuntimeUInt32(default_value=399, runtime_key="headgate.never.399")
    return AccessLogFilter(
        status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=ComparisonFilter.LE, value=value))
    )


WORDLESS = (
    ("missing_host_header", "The request has no host header.", 400),
    ("path_normalization_failed", "The request's path is malformed, or leaves the root.", 400),
    ("absolute_path_rejected", "The request's path must start with '/'.", 404),
    ("missing_path_rejected", "The request has no path.", 404),
    ("low_version", "HTTP/1.0 is not served: use HTTP/1.1 or HTTP/2.", 426),
    ("route_not_found", "Nothing is served for the host %REQ(:AUTHORITY)%.", 404),
    ("cluster_not_found", "The backend of this model is being changed; try again.", 0),
    ("rate_limiter_error", "The limits of this gateway cannot be checked at the moment; try again.", 0),
)
"""What Envoy refuses without a word, by the start of its details; the words for it; its status, or 0: any."""
UNREADABLE = (
    # of what is still being received Envoy would say 500, which is no time to come back
    ("overload", "This gateway has no memory for more requests at the moment: try again.", 503),
    ("http1.content_length_and_chunked_not_allowed", "The request has both content-length and transfer-encoding.", 400),
    ("http1.invalid_transfer_encoding", "The request's transfer-encoding is not known; it may be chunked.", 501),
    ("http1.transfer_encoding_not_allowed", "The request must not have a transfer-encoding.", 400),
    ("http1.content_length_not_allowed", "The request must not have a content-length.", 400),
    ("http1.invalid_url", "The request's target is not a valid path or URL.", 400),
    ("http1.invalid_characters", "A header of the request has characters that are not allowed.", 400),
    ("http1.headers_too_large", "The request's headers are too large.", 431),
    ("http1.too_many_headers", "The request has too many headers.", 431),
    ("http1.codec_error", "The request is not valid HTTP/1.1: its head or its chunks are malformed.", 400),
    ("http1.", "The request is not valid HTTP/1.1 (%RESPONSE_CODE_DETAILS%).", 0),
    ("http2.", "The request is not valid HTTP/2 (%RESPONSE_CODE_DETAILS%).", 0),
)
"""Likewise, what Envoy stops at while it reads the head, often before it has the path, which tells the dialect."""


def _mapper(filter_: AccessLogFilter, body_format: SubstitutionFormatString, status: int = 0) -> ResponseMapper:
    """`status` replaces Envoy's where it is not 0."""
    result = ResponseMapper(filter=filter_, body_format_override=body_format)
    if status:
        result.status_code.value = status
    return result


def _messages(options: Options, body_bytes_max: int) -> tuple[tuple[str, str, int], ...]:
    """(when, message, status) where Envoy's own words would not help a client; a status of 0 keeps Envoy's.

    Where Envoy's is one alone, it is named all the same: see `_choice`.
    """
    bounded = f"larger than the {options.body_bytes_max} bytes that can be translated"
    return (
        ("response.code_details == 'response_payload_too_large'", f"The provider's answer is {bounded}.", 502),
        (
            _PROCESSOR_FAILED,
            "The gateway's translator is not available at the moment; try again.",
            503,
        ),
        ("response.code_details.startsWith('jwt_authn_access_denied')", "%LOCAL_REPLY_BODY%", 0),
        # of all that answer so, only the upstream script (`brought.lua`) runs in Lua
        ("response.code == 401 && response.code_details == 'lua_response'", "%LOCAL_REPLY_BODY%", 401),
        (_DENIED, "The authorization service of this gateway refused the request. %LOCAL_REPLY_BODY%", 0),
        (
            "response.code_details == 'ext_authz_error'",
            "The authorization service of this gateway cannot be asked at the moment; try again.",
            0,
        ),
        (
            "response.code_details.endsWith('_for_basic_auth')",
            "No known user's name and password came with the request. Send them as 'Authorization: Basic BASE64', "
            "which is NAME:PASSWORD in base64.",
            401,
        ),
        (
            "response.code == 401",
            "No valid API key came with the request. Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
            401,
        ),
        # only `security.preflight_route` has it so: where no policy has answered
        (
            "response.code == 404 && response.code_details == 'cluster_not_found'",
            "Pages of %REQ(ORIGIN)% may not call this gateway: no policy for CORS here allows their origin.",
            403,
        ),
        (
            f"{_UNAUTHORIZED} && {_MODEL_KNOWN}",
            f"This client may not use the model '%DYNAMIC_METADATA({metadata.INTERNAL}:{metadata.INTERNAL_MODEL})%' "
            "at %REQ(:METHOD)% %PATH(NQ)%.",
            403,
        ),
        (_UNAUTHORIZED, "This client may not ask for %REQ(:METHOD)% %PATH(NQ)%.", 403),
        ("request.method == 'CONNECT'", "CONNECT is not served: this gateway is no proxy.", 405),
        # Codex asks again by HTTP at once where it is told so with 426, else after five tries.
        (
            "response.code_details.startsWith('upgrade_failed')",
            "WebSockets are not served here: send the request by HTTP.",
            426,
        ),
        *((f"response.code_details.startsWith('{start}')", words, status) for start, words, status in WORDLESS),
        ("response.code == 413", f"The request body is larger than the {body_bytes_max} bytes allowed here.", 413),
        (
            "response.code == 429",
            "A rate limit of this gateway is reached. The header retry-after says in how many seconds to try again.",
            429,
        ),
    )


def local_replies(
    options: Options, body_bytes_max: int, allowed: Sequence[HeaderValueOption] = (), *, overridden: bool = False
) -> LocalReplyConfig:
    """The mappers in order; the first whose filter holds decides. `allowed` lets browsers read what is said,
    `overridden` says that a policy replaces some answers."""
    result = LocalReplyConfig()
    if overridden:
        result.mappers.append(_mapper(_cel(f"response.code_details == '{overrides.DETAILS}'"), _verbatim("text/plain")))
    result.mappers.append(_mapper(_no_error(), _verbatim()))
    result.mappers.append(_mapper(_cel(_WRITTEN), _verbatim()))
    # our rate limit service answers in the client's dialect and names the limit; Envoy's filter knows one status
    limited = "response.code_details == 'request_rate_limited'"
    result.mappers.append(_mapper(_cel(f"{limited} && {_BUDGET_EXCEEDED}"), _verbatim(), PAYMENT_REQUIRED))
    if options.envoy_gateway:  # whose own may have refused
        limited = f"{limited} && {_REFUSED_BY_US}"
    result.mappers.append(_mapper(_cel(limited), _verbatim()))
    result.mappers.append(_mapper(_cel(_JSON_ANSWER), _verbatim()))
    spoken = [(_client_path(pattern, options.path_root), said) for pattern, said in _FORMATS]
    for start, words, status in UNREADABLE:
        when = f"response.code_details.startsWith('{start}')"
        result.mappers.extend(_mappers(spoken, when, words, status=status, otherwise=_either_format))
    for when, message, status in _messages(options, body_bytes_max):
        result.mappers.extend(_mappers(spoken, when, message, status=status))
    for test, said in spoken:
        result.mappers.append(_mapper(_cel(test), said("%LOCAL_REPLY_BODY%", 0)))
    result.mappers.append(_mapper(_cel("true"), _openai_format("%LOCAL_REPLY_BODY%", 0)))
    for mapper in result.mappers:
        mapper.headers_to_add.extend(allowed)
    return result


def refuse(name: str, status: int, text: str, match: RouteMatch) -> Route:
    return Route(name=name, match=match, direct_response=answered(text, status))


def _form() -> HeaderMatcher:
    sent = StringMatcher(prefix="multipart/form-data", ignore_case=True)
    return HeaderMatcher(name="content-type", string_match=sent)


def _no_form() -> HeaderMatcher:
    result = _form()
    result.invert_match = result.treat_missing_header_as_empty = True
    return result


def _model_is_number() -> RouteMatch:
    wanted = metadata_matcher(metadata.INTERNAL_MODEL)
    wanted.value.double_match.range.start = -1e308
    wanted.value.double_match.range.end = 1e308
    return RouteMatch(prefix="/", dynamic_metadata=[wanted])


def _model_is_boolean(value: bool) -> RouteMatch:
    wanted = metadata_matcher(metadata.INTERNAL_MODEL)
    wanted.value.bool_match = value
    return RouteMatch(prefix="/", dynamic_metadata=[wanted])


def form_routes(root: str) -> list[Route]:
    """Forms, and bodies that name their model deep inside, on their way to the processor, which reads it there.

    They then take the route of that model.

    The route is chosen by path when the headers come, and so it is here that the filter can be switched on.
    """
    result: list[Route] = []
    for row in CLASSES:
        for path in row.paths if row.multipart or row.model_inside else ():
            unread = HeaderMatcher(name=headers.MODEL, present_match=True, invert_match=True)
            match = RouteMatch(path=path_under(path, root), headers=[unread])
            if row.json_too:  # its model is read as every other body's
                match.headers.append(_form())
            text = "The body" if row.model_inside else "The form has no field 'model'; it"
            route = refuse("headgate/form", 400, f"{text} must name a model.", match)
            route.typed_per_filter_config[extraction.ROUTER].CopyFrom(extraction.router_enabled())
            result.append(route)
    return result


def path_model_routes(root: str) -> list[Route]:
    """Requests whose path names the model, before it has been read: then the route of that model takes them."""
    patterns = [row.path for row in CLASSES if row.model_in_path and not row.endpoint]
    result: list[Route] = []
    for pattern in patterns:
        match = RouteMatch(headers=[HeaderMatcher(name=headers.MODEL, present_match=True, invert_match=True)])
        match.safe_regex.CopyFrom(regex(pattern_under(pattern, root)))
        route = refuse("headgate/path-model", 400, "The path must name the model.", match)
        route.typed_per_filter_config[extraction.PATH_MODEL].CopyFrom(extraction.path_model_enabled())
        result.append(route)
    return result


_NO_MODEL = "The request body has no 'model' that is a text; it must name one. GET /v1/models lists what there is."
_MOST_ASKED = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def awaiting_routes(root: str) -> list[Route]:
    """Where most requests wait for their model: the first that `last_routes` would find for them. So they need not pass
    by all else twice, when their headers come and when their body has (17,000 instructions). Only where no rule may
    take a request without a model."""
    result: list[Route] = []
    for path in _MOST_ASKED:
        broken = metadata_matcher(ERROR_KEY)
        broken.value.present_match, broken.invert = True, True
        unread = HeaderMatcher(name=headers.MODEL, present_match=True, invert_match=True)
        match = RouteMatch(path=path_under(path, root), headers=[unread], dynamic_metadata=[broken])
        result.append(refuse("headgate/no-model", 400, _NO_MODEL, match))
    return result


def _other_type_route() -> Route:
    """Bodies that nobody reads, so that no model is found in them."""
    text = (
        "A body of content-type '%REQ(CONTENT-TYPE)%' is not read here: send application/json, or multipart/form-data "
        "where a file is uploaded."
    )
    other = HeaderMatcher(name="content-type", string_match=StringMatcher(safe_regex=regex(JSON_TYPES)))
    other.invert_match = True
    broken = metadata_matcher(ERROR_KEY)
    broken.value.string_match.exact = ERROR_JSON
    match = RouteMatch(prefix="/", headers=[_no_form(), other], dynamic_metadata=[broken])
    return refuse("headgate/other-type", 415, text, match)


def error_routes() -> list[Route]:
    """What a broken body is told, before any rule is tried."""
    broken = metadata_matcher(ERROR_KEY)
    broken.value.string_match.exact = ERROR_JSON
    not_json = "The request body is not valid JSON."
    not_text = "The request body's 'model' must be a string."
    return [
        _other_type_route(),
        refuse(
            "headgate/invalid-json",
            400,
            not_json,
            RouteMatch(prefix="/", headers=[_no_form()], dynamic_metadata=[broken]),
        ),
        refuse("headgate/model-is-number", 400, not_text, _model_is_number()),
        refuse("headgate/model-is-true", 400, not_text, _model_is_boolean(True)),
        refuse("headgate/model-is-false", 400, not_text, _model_is_boolean(False)),
    ]


def refuse_method(name: str, match: RouteMatch, allowed: str) -> Route:
    """405 for every method but the one allowed, which the answer names."""
    text = f"%REQ(:METHOD)% is not served at %PATH(NQ)%, only {allowed}."
    result = refuse(name, 405, text, match)
    result.response_headers_to_add.append(set_header("allow", allowed))
    return result


def _not_posted(match: RouteMatch) -> RouteMatch:
    post = StringMatcher(exact="POST")
    match.headers.append(HeaderMatcher(name=":method", string_match=post, invert_match=True))
    return match


def method_route() -> Route:
    """What names a model is posted, wherever it goes: with another method it would be a right to more than models.

    Before the first rule for models; what names none is as free as the rules without a model leave it.
    """
    named = HeaderMatcher(name=headers.MODEL, present_match=True)
    return refuse_method("headgate/method", _not_posted(RouteMatch(prefix="/", headers=[named])), "POST")


NOTHING_THERE = "There is nothing at %REQ(:METHOD)% %PATH(NQ)%."
"""Without the query, which may have a key."""
_UNKNOWN_PATH = (
    f"{NOTHING_THERE} Base URLs end with /v1 for OpenAI's clients and with /anthropic for Anthropic's; "
    "GET /v1/models lists what there is."
)


_UNKNOWN_MODEL = "headgate/unknown-model"


def last_routes(known_paths: Iterable[str]) -> list[Route]:
    """What is told a request that no rule took: the unknown model first, then no model, then an unknown path."""
    result: list[Route] = []
    has_model = HeaderMatcher(name=headers.MODEL, present_match=True)
    result.append(refuse(_UNKNOWN_MODEL, 404, unknown_model(), RouteMatch(prefix="/", headers=[has_model])))
    for path in known_paths:
        match = RouteMatch(path=path, headers=[HeaderMatcher(name=":method", string_match=StringMatcher(exact="POST"))])
        result.append(refuse("headgate/no-model", 400, _NO_MODEL, match))
        result.append(refuse_method("headgate/not-posted", _not_posted(RouteMatch(path=path)), "POST"))
    result.append(refuse("headgate/unknown-path", 404, _UNKNOWN_PATH, RouteMatch(prefix="/")))
    return result


def direct(name: str, match: RouteMatch, status: int, body: str) -> Route:
    route = Route(name=name, match=match)
    route.direct_response.status = status
    route.direct_response.body.inline_string = body
    return route


def listed(routes: Iterable[Route]) -> bytes:
    """A serialised `RouteList`; joined, such texts are one list."""
    return RouteList(routes=routes).SerializeToString(deterministic=True)


@cache
def unknown_model_listed() -> bytes:
    """Ends the routes of a known model, for paths that nothing serves it at."""
    return listed(last_routes(())[:1])


def posted_model_listed(model: str) -> bytes:
    """Likewise where the model and the method were looked up: it stands there for each of thousands."""
    return listed([refuse(_UNKNOWN_MODEL, 404, unknown_model(literal(model), "POST"), RouteMatch(prefix="/"))])
