"""What Envoy 1.40 gets wrong in silence, or dies of: no configuration of ours may walk into it.

The traps are known from running Envoy; the integration tests show that what is configured instead works.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from headgate.compiler.cel import ESTIMATE_MAX
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.lanes import TRANSLATED
from headgate.compiler.lower import upstream
from headgate.compiler.lower.limits import LOCAL_STAGE
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.controller.sources.files import load
from headgate.pb import overlay

CASES = Path(__file__).parents[2] / "golden" / "compile"
OPTIONS = Options(
    extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock", lua_directory="/lua", secrets_directory="/f"
)


def compiled(case: str) -> Compiled:
    return compile_world(load((CASES / case / "in.yaml",), environment={}).world, OPTIONS)


def has_models(case: str) -> bool:
    """Whether a case has more than HTTPRoutes."""
    return "kind: AIGatewayRoute" in (CASES / case / "in.yaml").read_text()


def resources(case: str, kind: str) -> list[dict[str, Any]]:
    found = next(named for url, named in compiled(case).resources.items() if url.endswith("." + kind))
    return [overlay.to_dict(message) for message in found.values()]


def objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        yield found
        for item in found.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from objects(item)


every_case = pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))


def everything(case: str) -> list[Mapping[str, Any]]:
    return [
        entry
        for kind in ("Listener", "RouteConfiguration", "Cluster")
        for resource in resources(case, kind)
        for entry in objects(resource)
    ]


@every_case
def test_limits_stand_where_hits_addend_counts(case: str) -> None:
    """`route.rate_limits` ignores hits_addend and counts 1: only the local filter is asked there, by its stage."""
    routes = [entry["route"] for entry in everything(case) if "match" in entry and "route" in entry]
    assert {limit["stage"] for route in routes for limit in route.get("rate_limits", [])} <= {LOCAL_STAGE}


def test_a_charge_always_ends_in_a_number() -> None:
    """A format that yields nothing drops the whole descriptor, and with it the charge."""
    charges = [entry["format"] for entry in everything("limits") if str(entry.get("format", "")).startswith("%CEL(")]
    assert charges
    assert all(": 0" in charge for charge in charges)


def test_both_moments_of_a_limit_are_asked() -> None:
    moments = [entry for entry in everything("limits") if "hits_addend" in entry]
    assert [entry.get("apply_on_stream_done", False) for entry in moments].count(True) > 0
    assert [entry for entry in moments if not entry.get("apply_on_stream_done")]


def test_an_estimate_always_ends_in_a_number() -> None:
    """What a client says of itself must not make the estimate an error: its limit would be gone."""
    moments = [entry for entry in everything("limits") if "hits_addend" in entry]
    estimates = [entry["hits_addend"] for entry in moments if not entry.get("apply_on_stream_done")]
    formats = [estimate["format"] for estimate in estimates if "number" not in estimate]
    assert formats
    assert all("'max_tokens' in" in estimate and "u)" in estimate for estimate in formats)
    contexts = [entry["filter_context"] for entry in everything("limits") if "default_source_code" in entry]
    assert [context for context in contexts if context.get("length_max") == ESTIMATE_MAX]


def test_identity_for_limits_comes_from_metadata() -> None:
    """Descriptors at stream end are made from headers that upstream filters have changed by then."""
    assert not [entry for entry in everything("limits") if "request_headers" in entry and "actions" in str(entry)]


@every_case
def test_failover_asks_the_specifier_again(case: str) -> None:
    """Without refresh_cluster_on_retry every retry stays on the first cluster."""
    specifiers = {
        entry["name"]: entry["typed_config"]["priority_groups"]
        for entry in everything(case)
        if "priority_groups" in entry.get("typed_config", {})
    }
    for host in (entry for entry in everything(case) if "domains" in entry):
        for entry in objects(host):
            if "cluster_specifier_plugin" in entry and len(specifiers[entry["cluster_specifier_plugin"]]) > 1:
                assert (entry.get("retry_policy") or host["retry_policy"])["refresh_cluster_on_retry"] is True


@every_case
def test_no_aggregate_or_composite_cluster(case: str) -> None:
    """They skip their members' upstream filters: no key, no rewrite."""
    assert not [cluster for cluster in resources(case, "Cluster") if "cluster_type" in cluster]


@every_case
def test_every_cluster_has_endpoints(case: str) -> None:
    """A cluster without endpoints answers 503 and is not failed over."""
    for cluster in resources(case, "Cluster"):
        assert all(locality["lb_endpoints"] for locality in cluster["load_assignment"]["endpoints"])


@every_case
def test_the_processor_asks_for_no_attribute_that_crashes(case: str) -> None:
    """`xds.node` in an upstream ext_proc kills the worker; skipped request headers kill it for bodies in pieces.

    What counts prompts in the listener sends neither headers nor bodies until a route asks for both.
    """
    processors = [entry for entry in everything(case) if "processing_mode" in entry and "grpc_service" in entry]
    assert processors or not has_models(case)
    for entry in processors:
        assert "xds.node" not in entry.get("request_attributes", [])
        if "count_prompt" in str(entry["grpc_service"]):
            assert set(entry["processing_mode"].values()) == {"SKIP"}
            continue
        assert entry["processing_mode"]["request_header_mode"] == "SEND"
        assert not entry.get("failure_mode_allow", False)


@every_case
def test_the_client_spoofs_no_internal_header(case: str) -> None:
    for listener in resources(case, "Listener"):
        text = str(listener)
        assert all(prefix in text for prefix in headers.INTERNAL_PREFIXES)


def _upstream_chains(case: str) -> list[list[Any]]:
    """The filters of each AI cluster."""
    return [
        entry["http_filters"]
        for entry in everything(case)
        if "explicit_http_config" in entry or "auto_config" in entry
        if "http_filters" in entry
    ]


@every_case
def test_every_attempt_strips_credentials_before_anyone_sees_them(case: str) -> None:
    """Headers are shared between attempts; what follows in the list are the processor and the backend's own key."""
    chains = _upstream_chains(case)
    assert chains or not has_models(case)
    for chain in chains:
        assert [each["name"] for each in chain[:2]] == ["headgate.lua/upstream", "headgate.header_mutation/attempt"]
        mutations = chain[1]["typed_config"]["mutations"]["request_mutations"]
        removed = [each["remove"] for each in mutations if "remove" in each]
        assert set(removed) >= {*headers.CREDENTIALS, headers.MODEL, *headers.INTERNAL}
        assert mutations[: len(removed)] == [{"remove": name} for name in removed]


@every_case
def test_an_answer_loses_names_of_ours_before_anything_of_ours_sees_it(case: str) -> None:
    """What the processor and the filters after it say under such names is the gateway's own."""
    stripped = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in headers.INTERNAL_PREFIXES]
    for chain in _upstream_chains(case):
        assert [each["name"] for each in chain[-2:]] == [
            "headgate.header_mutation/answer",
            "envoy.filters.http.upstream_codec",
        ]
        mutations = chain[-2]["typed_config"]["mutations"]
        assert mutations["response_mutations"][: len(stripped)] == stripped
        assert mutations["response_trailers_mutations"] == stripped


@every_case
def test_nothing_of_the_configuration_depends_on_a_filter_installed_disabled(case: str) -> None:
    """Which filters run is decided when headers come; which route a request takes only after its body.

    The exceptions are what the path switches on, in the listener, and a cluster's processor, which is switched on when
    the request, whose route is known by then, is sent.
    """
    disabled = [
        entry["name"] for entry in everything(case) if entry.get("disabled") is True and "typed_config" in entry
    ]
    processors = {f"headgate.ext_proc/{dialect}{suffix}" for dialect in TRANSLATED for suffix in ("", "/forced")}
    assert set(disabled) <= {"headgate.ext_proc/router", "headgate.lua/path_model", *processors}


@every_case
def test_short_scripts_are_chosen_only_where_they_are_all_that_is_needed(case: str) -> None:
    """They leave host, path, body and headers alone: the route sets the host, and no backend may want anything else, or
    the processor does it for all of them."""
    told = {
        cluster["name"]: entry["filter_context"]["told"]
        for cluster in resources(case, "Cluster")
        for entry in objects(cluster)
        if "told" in entry.get("filter_context", ())
    }
    groups = {
        entry["name"]: [each["cluster_name"] for group in groups for each in group["clusters"]]
        for entry in everything(case)
        if (groups := entry.get("typed_config", {}).get("priority_groups"))
    }
    for route in (entry for entry in everything(case) if upstream.SCRIPT in entry.get("typed_per_filter_config", {})):
        action, configs = route["route"], route["typed_per_filter_config"]
        short = configs[upstream.SCRIPT].get("name")
        processed = any(name.startswith("headgate.ext_proc/") for name in configs)
        if short == upstream.KEEPER:
            assert processed
        elif processed:  # no script at all: nobody keeps the path for another attempt
            assert "cluster" in action
            assert not action.get("retry_policy")
        for name in groups.get(action.get("cluster_specifier_plugin"), [action.get("cluster")]):
            names = set(re.findall(r'\["(\w+)"\]=', told[name]))
            assert f'["host"]="{action["host_rewrite_literal"]}"' in told[name]
            assert "managed" not in names
            if not processed:
                usage = {"include_usage"} if short == upstream.ASKER else set[str]()
                assert names <= {"host", "prefix", "translate", "alone"} | usage
                assert "prefix" not in names or '["prefix"]="/v1"' in told[name]
