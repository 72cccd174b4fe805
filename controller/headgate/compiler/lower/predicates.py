"""Conditions of Envoy's unified matcher, for filters that decide by one.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/matching/matching_api
"""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message
from headgate.compiler.lower.wire import packed
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

Predicate = Matcher.MatcherList.Predicate


def named(name: str, message: Message) -> TypedExtensionConfig:
    """A message as an extension of a matcher."""
    return TypedExtensionConfig(name=name, typed_config=packed(message))


def compared(taken: Message, wanted: StringMatcher) -> Predicate:
    """What is taken of a request or answer is a text like that."""
    result = Predicate()
    result.single_predicate.input.CopyFrom(named("input", taken))
    result.single_predicate.value_match.CopyFrom(wanted)
    return result


def asked(taken: Message, wanted: Message) -> Predicate:
    """Likewise, where another extension compares."""
    result = Predicate()
    result.single_predicate.input.CopyFrom(named("input", taken))
    result.single_predicate.custom_match.CopyFrom(named("matcher", wanted))
    return result


def expression(pattern: str) -> StringMatcher:
    """A text that the regular expression matches whole."""
    result = StringMatcher()
    result.safe_regex.google_re2.SetInParent()
    result.safe_regex.regex = pattern
    return result


def all_of(found: Sequence[Predicate]) -> Predicate:
    """Every one of them, of which there is at least one."""
    if len(found) == 1:
        return found[0]
    return Predicate(and_matcher=Predicate.PredicateList(predicate=found))


def any_of(predicates: Iterable[Predicate]) -> Predicate:
    """One of them, of which there is at least one."""
    found = list(predicates)
    if len(found) == 1:
        return found[0]
    return Predicate(or_matcher=Predicate.PredicateList(predicate=found))
