"""Envoy's formats: texts with commands, like `%REQ(HOST)%`. One that Envoy 1.40 refuses costs a whole listener.

What each command takes is held against the real Envoy by a test:
https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/substitution_formatter
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from headgate.compiler.resources.cel_syntax import cel_problem
from headgate.compiler.resources.metadata import Violation

_ALONE: Final = """
ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
CUSTOM_FLAGS DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT DOWNSTREAM_CX_RTT
DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT
DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN
DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT
DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1
DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN
DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER
DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN
DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS
DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION
DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DURATION
FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME LISTENER_NAME LOCAL_REPLY_BODY PACKETS_RETRANSMITTED PROTOCOL
REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS
RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME
SPAN_ID STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE
UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED
UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME UPSTREAM_HOST_NAMES_ATTEMPTED
UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS
UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN
UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT
UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID
UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP
UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
"""
_MASKED: Final = """
DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
"""
_TIMES: Final = """
DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START EMIT_TIME EMIT_TIME_LOCAL START_TIME START_TIME_LOCAL
UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START
"""


class _Takes(NamedTuple):
    """What a command takes."""

    parameter: str
    """An expression for it; empty where only `()` may stand."""
    needed: bool = True
    """Whether the parameter is."""
    length: bool = False
    """Whether `:N` may end it."""


def _all(names: str, takes: _Takes) -> dict[str, _Takes]:
    return dict.fromkeys(names.split(), takes)


_HEADER: Final = r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]*"
COMMANDS: Final[Mapping[str, _Takes]] = {
    **_all(_ALONE, _Takes("", needed=False)),
    **_all(_MASKED + _TIMES + "RESPONSE_CODE_DETAILS", _Takes(".*", needed=False)),
    **_all(
        "REQ REQUEST_HEADER RESP RESPONSE_HEADER RESPONSE_TRAILER TRAILER",
        _Takes(rf"(?!$){_HEADER}(\?{_HEADER})?", length=True),
    ),
    **_all("CEL COALESCE DYNAMIC_METADATA ENVIRONMENT QUERY_PARAM TYPED_CEL", _Takes(".+", length=True)),
    **_all("FILTER_STATE UPSTREAM_FILTER_STATE", _Takes("[^:]+(:(PLAIN|TYPED)|:FIELD:.+)?", length=True)),
    **_all("CLUSTER_METADATA UPSTREAM_METADATA", _Takes(".+")),
    "METADATA": _Takes(
        "(CLUSTER|DYNAMIC|LISTENER|LISTENER_FILTER_CHAIN|ROUTE|UPSTREAM_HOST|VIRTUAL_HOST)(:.*)?", length=True
    ),
    "COMMON_DURATION": _Takes("[^:]+:[^:]+(:(ms|us|ns))?"),
    "PATH": _Takes("(NQ|WQ)?(:(ORIG|ORIG_OR_PATH|PATH))?", needed=False, length=True),
    "QUERY_PARAMS": _Takes("(DECODED|ORIG)?", needed=False, length=True),
    "GRPC_STATUS": _Takes("(CAMEL_STRING|NUMBER|SNAKE_STRING)?", needed=False),
    "REQUESTED_SERVER_NAME": _Takes("(HOST_FIRST|SNI_FIRST|SNI_ONLY)?(:(HOST|ORIG|ORIG_OR_HOST))?", needed=False),
}


class _Operator(msgspec.Struct, frozen=True):
    command: str
    param: str | None = None

    @property
    def written(self) -> str:
        return self.command if self.param is None else f"{self.command}({self.param})"


class _Alternatives(msgspec.Struct, frozen=True):
    operators: tuple[str | _Operator, ...]


_COMMAND: Final = re.compile(r"%%|%(?P<name>[A-Z0-9_]+)(?:\((?P<parameter>.*?)\))?(?::(?P<length>[0-9]{1,9}))?%")
_REMEDY: Final = "commands of Envoy's access log, like %REQ(HOST)%; a percent sign of its own is %%"


def format_violations(field: str, text: str) -> Iterator[Violation]:
    """What is wrong with the format at a field."""
    if problem := format_problem(text):
        yield Violation(f"is no format: {problem}", field, _REMEDY)


@lru_cache(maxsize=4096)
def format_problem(text: str) -> str:
    """Why Envoy would refuse that format; empty where it would not."""
    at = text.find("%")
    while at >= 0:
        found = _COMMAND.match(text, at)
        if found is None:
            return f"no command stands at {text[at : at + 40]!r}"
        name = found["name"]
        if name is not None and (problem := _problem(name, found["parameter"], length=found["length"] is not None)):
            return problem
        at = text.find("%", found.end())
    return ""


def _problem(name: str, parameter: str | None, *, length: bool) -> str:
    takes = COMMANDS.get(name)
    if takes is None:
        return f"Envoy has no command %{name}%"
    if parameter is None and takes.needed:
        return f"%{name}% needs a parameter, %{name}(…)%"
    if parameter is not None and re.fullmatch(takes.parameter, parameter) is None:
        return f"%{name}% does not take the parameter {parameter!r}"
    if length and not takes.length:
        return f"%{name}% takes no length"
    if name in ("CEL", "TYPED_CEL") and (problem := cel_problem(parameter or "")):
        return f"the expression in %{name}% {problem}"
    return _alternatives_problem(parameter or "") if name == "COALESCE" else ""


def _alternatives_problem(parameter: str) -> str:
    """Of what %COALESCE% takes: names of commands, or objects."""
    try:
        listed = msgspec.json.decode(parameter, type=_Alternatives).operators
    except msgspec.MsgspecError:
        listed = ()
    if not listed or any(isinstance(each, str) and "(" in each for each in listed):
        return '%COALESCE% takes {"operators": [...]}, names of commands or objects with command and param'
    texts = (f"%{each if isinstance(each, str) else each.written}%" for each in listed)
    return next((problem for text in texts if (problem := format_problem(text))), "")
