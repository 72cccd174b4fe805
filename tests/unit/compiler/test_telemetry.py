"""`spec.telemetry` of an EnvoyProxy: what is in force, and what is said of the rest."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.lower.program import lower_program
from headgate.compiler.lower.wire import type_url
from headgate.compiler.options import Mode, Options
from headgate.contract.otel import Address, Protocol, Sampler, Tag
from headgate.controller.sources.files import load
from support import manifests
from support.manifests import Document, backend, document, ref, route, rule

HOST: Document = {"host": "otel.example", "port": 4317}
ALS_OF_TCP: Document = {"type": "ALS", "als": {"type": "TCP", "backendRefs": [{"name": "x"}]}}
FILE: Document = {"type": "File", "file": {}}
NOT_IN_FORCE: list[tuple[Document, str]] = [
    ({"tracing": {"provider": {"backendRefs": [{"name": "otel", "port": 1}]}}}, "only a cluster has Services"),
    ({"tracing": {"provider": {**HOST, "type": "Zipkin"}}}, "Zipkin is not spoken"),
    ({"tracing": {"provider": {}}}, "host or backendRefs needs to be set"),
    ({"tracing": {"provider": HOST, "spanName": {"client": "a", "server": "b"}}}, "spanName"),
    ({"metrics": {}}, "metrics"),
    ({"accessLog": {"settings": [{"sinks": [ALS_OF_TCP]}]}}, "TCP"),
    ({"accessLog": {"settings": [{"sinks": [{"type": "File"}]}]}}, "file field needs to be set"),
    ({"accessLog": {"settings": [{"type": "Listener", "sinks": [FILE]}]}}, "connections"),
    ({"accessLog": {"settings": [{"format": {"text": "%NOPE%"}, "sinks": [FILE]}]}}, "format.text: is no format"),
    ({"accessLog": {"settings": [{"format": {"json": {"a": "%REQ%"}}, "sinks": [FILE]}]}}, "json.a: is no format"),
    ({"accessLog": {"settings": [{"matches": ["string(1) == '1'"], "sinks": [FILE]}]}}, "matches[0]: calls string"),
    ({"tracing": {"provider": HOST, "tags": {"a": "100%"}}}, "tags.a: is no format"),
]


def compiled(
    tmp_path: Path, telemetry: Document, *more: Document, mode: Mode = Mode.FILES, reference: bool = True
) -> tuple[Compiled, list[str]]:
    """And all that is said."""
    documents = manifests.gateway({"port": 8080})
    documents[0]["spec"]["controllerName"] = "headgate.dev/gateway-controller"
    if reference:
        where = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "namespace": "default", "name": "mine"}
        documents[0]["spec"]["parametersRef"] = where
    documents += [
        document("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "mine", {"telemetry": telemetry}),
        *backend("openai", 9, key="k"),
        route("r", [rule("gpt", ref("openai"))]),
        *more,
    ]
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents))
    loaded = load((path,), environment={})
    found = compile_world(loaded.world, Options(mode=mode))
    said = [str(each) for each in (*loaded.diagnostics, *found.diagnostics)]
    return found, [line for line in said if "EnvoyProxy" in line]


def listener(found: Compiled) -> ir.Listener:
    return found.program.ports[0].listeners[0]


@pytest.mark.parametrize(
    ("sampling", "sampler"),
    [
        ({}, Sampler(ratio=1.0)),
        ({"samplingRate": 25}, Sampler(ratio=0.25)),
        ({"samplingFraction": {"numerator": 1, "denominator": 1000}}, Sampler(ratio=0.001)),
    ],
)
def test_sampling(tmp_path: Path, sampling: dict[str, Any], sampler: Sampler) -> None:
    found, said = compiled(tmp_path, {"tracing": {"provider": HOST, **sampling}})
    tracing = listener(found).tracing
    assert tracing is not None
    assert (tracing.sampler, tracing.service_name) == (sampler, "gateway.default")
    assert tracing.exporter.protocol is Protocol.GRPC
    assert not said


def test_samplers_of_opentelemetry_win(tmp_path: Path) -> None:
    share = {"type": "TraceIdRatio", "samplingPercentage": {"numerator": 5}}
    provider = {**HOST, "openTelemetry": {"sampler": share, "resourceAttributes": {"a": "b"}}}
    found, _ = compiled(tmp_path, {"tracing": {"provider": provider, "samplingRate": 1, "tags": {"x": "%PROTOCOL%"}}})
    tracing = listener(found).tracing
    assert tracing is not None
    assert tracing.sampler == Sampler(ratio=0.05, parent_based=False)
    assert (tracing.resource, tracing.tags) == ((("a", "b"),), (Tag(name="x", format="%PROTOCOL%"),))


def test_service_of_a_cluster(tmp_path: Path) -> None:
    provider = {"backendRefs": [{"name": "otel", "port": 4317}]}
    found, said = compiled(tmp_path, {"tracing": {"provider": provider}}, mode=Mode.STANDALONE)
    tracing = listener(found).tracing
    assert tracing is not None
    assert tracing.exporter.addresses == (Address("otel.default.svc", 4317),)
    assert not said


@pytest.mark.parametrize("withholding", ["a", "z"])
def test_what_one_gateway_withholds_no_provider_gets(tmp_path: Path, withholding: str) -> None:
    found, _ = compiled(tmp_path, {"tracing": {"provider": HOST}})
    traced = listener(found)
    assert traced.tracing is not None
    listeners = tuple(
        replace(traced, name=name, tracing=replace(traced.tracing, service_name=name, baggage=name != withholding))
        for name in ("a", "z")
    )
    program = replace(found.program, ports=(replace(found.program.ports[0], listeners=listeners),))
    clusters = lower_program(program, Options()).resources[type_url(Cluster)]
    (provider,) = [each.SerializeToString() for name, each in clusters.items() if name.startswith("default/openai")]
    assert b"baggage" in provider
    assert b"traceparent" not in provider


@pytest.mark.parametrize(("telemetry", "part"), NOT_IN_FORCE)
def test_what_is_not_in_force_is_said(tmp_path: Path, telemetry: Document, part: str) -> None:
    _, said = compiled(tmp_path, telemetry)
    assert any(part in line for line in said), said


def test_logs_stand_in_place_of_the_installation_s(tmp_path: Path) -> None:
    assert listener(compiled(tmp_path, {"accessLog": {"disable": True}})[0]).logs == ()
    assert listener(compiled(tmp_path, {"accessLog": {}})[0]).logs is None
    found, _ = compiled(tmp_path, {"accessLog": {"settings": [{"sinks": [FILE]}]}})
    assert listener(found).logs == (ir.AccessLog(path="/dev/stdout"),)


def test_a_proxy_that_nobody_names_is_not_read(tmp_path: Path) -> None:
    found, _ = compiled(tmp_path, {"tracing": {"provider": HOST}}, reference=False)
    assert listener(found).tracing is None
