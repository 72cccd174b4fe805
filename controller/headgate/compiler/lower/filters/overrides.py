"""Answers that a policy replaces on their way to the client.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/custom_response_filter
"""

from collections.abc import Iterator
from functools import lru_cache

from envoy.extensions.filters.http.custom_response.v3.custom_response_pb2 import CustomResponse
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.http.custom_response.local_response_policy.v3.local_response_policy_pb2 import LocalResponsePolicy
from envoy.type.matcher.v3.http_inputs_pb2 import HttpResponseHeaderMatchInput
from envoy.type.matcher.v3.status_code_input_pb2 import HttpResponseStatusCodeMatchInput
from google.protobuf.any_pb2 import Any
from headgate.compiler import answers
from headgate.compiler.clients import TextRule
from headgate.compiler.lower.predicates import Predicate, all_of, any_of, compared, expression, named
from headgate.compiler.lower.wire import add_header, http_filter, inline, literal, packed, set_header
from headgate.pb.local_reply_input_pb2 import HttpResponseLocalReplyMatchInput
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

FILTER = "envoy.filters.http.custom_response"
DETAILS = ""
"""What Envoy calls the reason of an answer that it has replaced (`%RESPONSE_CODE_DETAILS%`)."""


def replacer() -> HttpFilter:
    """Does nothing but on the routes that say what."""
    return http_filter(FILTER, CustomResponse())


@lru_cache(maxsize=256)
def per_route(overrides: tuple[answers.ResponseOverride, ...]) -> Any:
    """What is replaced on a route."""
    message = CustomResponse()
    for override in overrides:
        on_match = Matcher.OnMatch(action=named("replacement", _replacement(override)))
        row = message.custom_response_matcher.matcher_list.matchers.add(on_match=on_match)
        row.predicate.CopyFrom(all_of(list(_conditions(override))))
    return packed(message)


def _replacement(override: answers.ResponseOverride) -> LocalResponsePolicy:
    message = LocalResponsePolicy()
    if override.body:
        message.body_format.text_format_source.CopyFrom(inline(override.body))
    if override.status:
        message.status_code.value = override.status
    message.response_headers_to_add.extend(set_header(name, literal(value)) for name, value in override.sets)
    message.response_headers_to_add.extend(add_header(name, literal(value)) for name, value in override.adds)
    return message


def _conditions(override: answers.ResponseOverride) -> Iterator[Predicate]:
    if override.statuses:
        taken = HttpResponseStatusCodeMatchInput()
        yield any_of(compared(taken, StringMatcher(prefix=code)) for code in override.statuses)
    for name, rule in override.headers:
        yield compared(HttpResponseHeaderMatchInput(header_name=name), _text(rule))
    if override.body and not override.status:
        bodiless = any_of(
            compared(HttpResponseStatusCodeMatchInput(), StringMatcher(exact=str(code))) for code in answers.BODILESS
        )
        yield Predicate(not_matcher=bodiless)
    if override.local is not None:
        yield compared(HttpResponseLocalReplyMatchInput(), StringMatcher(exact="true" if override.local else "false"))


def _text(rule: TextRule) -> StringMatcher:
    match rule.kind:
        case "Exact":
            return StringMatcher(exact=rule.value)
        case "Prefix":
            return StringMatcher(prefix=rule.value)
        case "Suffix":
            return StringMatcher(suffix=rule.value)
        case "RegularExpression":
            return expression(rule.value)
