"""Numbers and durations that Envoy or its protobuf would not take are refused in the object that has them: they would
cost a whole listener, or the compilation."""

from collections.abc import Iterator
from typing import Any

import pytest
from headgate.compiler.reading import read_object
from headgate.compiler.resources.kinds import KINDS, Kind
from headgate.compiler.resources.metadata import NOWHERE
from msgspec import inspect
from support.manifests import traffic

SERVERS = {"generation", "deletion_grace_period_seconds"}
"""Of the API server, which nobody reads."""
NOTHING: dict[str, Any] = {}
FAILED: dict[str, Any] = {"match": {"statusCodes": [{"type": "Value", "value": 503}]}}
QUANTITIES = {"buffer_limit", "max_request_header_limit", "min_content_length"}
"""Texts or numbers of bytes, whose bounds are checked with both."""


def _unbounded(type_: Any, field: str = "") -> Iterator[str]:
    match type_:
        case inspect.StructType():
            for each in type_.fields:
                yield from _unbounded(each.type, each.name)
        case inspect.UnionType():
            for each in type_.types:
                yield from _unbounded(each, field)
        case inspect.VarTupleType():
            yield from _unbounded(type_.item_type, field)
        case inspect.DictType():
            yield from _unbounded(type_.value_type, field)
        case inspect.IntType() if type_.le is None and field not in SERVERS | QUANTITIES:
            yield field
        case _:
            pass


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_number_has_a_bound(kind: Kind) -> None:
    assert list(_unbounded(inspect.type_info(kind.type))) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"retry": {"numRetries": 2**40}}, "spec.retry.numRetries"),
        (
            {"retry": {"perRetry": {"backOff": {"baseInterval": "10s", "maxInterval": "1s"}}}},
            "spec.retry.perRetry.backOff.maxInterval",
        ),
        ({"timeout": {"tcp": {"connectTimeout": "0s"}}}, "spec.timeout.tcp.connectTimeout"),
        (
            {"healthCheck": {"active": {"type": "TCP", "tcp": {}, "interval": "0s"}}},
            "spec.healthCheck.active.interval",
        ),
        ({"healthCheck": {"passive": {"baseEjectionTime": "0ms"}}}, "spec.healthCheck.passive.baseEjectionTime"),
        ({"faultInjection": {"delay": {"fixedDelay": "0s"}}}, "spec.faultInjection.delay.fixedDelay"),
        (
            {"responseOverride": [{**FAILED, "response": {"body": {"type": "Inline", "inline": "%NOPE%"}}}]},
            "spec.responseOverride[0].response.body.inline",
        ),
        (
            {"responseOverride": [{**FAILED, "response": {"contentType": "a\nb"}}]},
            "spec.responseOverride[0].response.contentType",
        ),
        (
            {
                "responseOverride": [
                    {**FAILED, "redirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/\n"}}}
                ]
            },
            "spec.responseOverride[0].redirect.path.replaceFullPath",
        ),
        ({"responseOverride": [{"match": NOTHING, "response": NOTHING}]}, "spec.responseOverride[0].match.statusCodes"),
        ({"responseOverride": [{**FAILED}]}, "spec.responseOverride[0].response"),
        ({"compressor": [{"type": "Gzip", "minContentLength": 29}]}, "spec.compressor[0].minContentLength"),
        ({"compression": [{"type": "Zstd", "minContentLength": "4Gi"}]}, "spec.compression[0].minContentLength"),
        (
            {"circuitBreaker": {"retryBudget": {"percent": {"numerator": 10**400}}}},
            "spec.circuitBreaker.retryBudget.percent.numerator",
        ),
    ],
)
def test_what_envoy_would_refuse_is_refused_where_it_stands(spec: dict[str, Any], field: str) -> None:
    read = read_object(traffic("p", "r", **spec), NOWHERE)
    assert read.resource is None
    assert [each.field for each in read.diagnostics] == [field]
