"""What each part of the native lane costs: Envoy's CPU per request with everything, and without one part at a time.

The scenario is compiled as `headgate run` would, but served by a static Envoy, so that parts can be taken out. A part
whose absence breaks the answer is reported as needed.
"""

import copy
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.compiler.compile import compile_world
from headgate.compiler.options import Options
from headgate.contract.expressions import INSTRUCTIONS_MAX
from headgate.controller.sources.files import load
from headgate.pb import overlay
from support.envoy import EnvoyProcess
from support.json_values import is_array, is_object

from bench import configuration as config
from bench import report
from bench.data_path import load_for
from bench.measure import measure, start_backend
from bench.scenarios import SCENARIOS, Ports

MODES: Final = ("c10", "c1")
RUNTIME: Final = {"re2.max_program_size.error_level": INSTRUCTIONS_MAX}
PORT: Final = 18080
"""Only in the compiled configuration: the static Envoy binds any free port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`without` it, a request costs Envoy this many microseconds, by mode; None where it does not serve."""

    name: str
    without: dict[str, float] | None


def _compiled(scenario: str, backend_port: int, directory: Path) -> dict[str, list[dict[str, Any]]]:
    row = next(each for each in SCENARIOS if each.name == scenario)
    assert row.route
    objects = [config.gateway_class(), *row.gateway(PORT)]
    objects += row.route(scenario, Ports(gateway=PORT, backend=backend_port))
    file = directory / f"{scenario}.yaml"
    file.write_text(config.documents(*objects))
    sockets = Options(
        extproc_sockets=(str(directory / "none"),),
        ratelimit_socket=str(directory / "none"),
        access_log=str(directory / "access.log"),
    )
    compiled = compile_world(load([file], environment={}).world, sockets)
    return {
        type_url.rpartition(".")[2]: [overlay.to_dict(message) for message in named.values()]
        for type_url, named in compiled.resources.items()
    }


def bootstrap(scenario: str, backend_port: int, directory: Path) -> dict[str, Any]:
    """The scenario's xDS as a static bootstrap on a free port."""
    resources = _compiled(scenario, backend_port, directory)
    (listener,) = resources["Listener"]
    listener["address"]["socket_address"]["port_value"] = 0
    routes = {each["name"]: each for each in resources["RouteConfiguration"]}
    manager = http_manager(listener)
    manager["route_config"] = routes[manager.pop("rds")["route_config_name"]]
    static = {"listeners": [listener], "clusters": resources["Cluster"], "secrets": resources.get("Secret", [])}
    return _without_key(static, "sds_config")


def http_manager(listener: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a listener's first chain."""
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def _without_key(value: Any, name: str) -> Any:
    if is_object(value):
        return {key: _without_key(each, name) for key, each in value.items() if key != name}
    return [_without_key(each, name) for each in value] if is_array(value) else value


def _upstream_filters(static: dict[str, Any]) -> list[list[Any]]:
    clusters: list[dict[str, Any]] = static["clusters"]
    options: list[dict[str, Any]] = [each.get("typed_extension_protocol_options", {}) for each in clusters]
    return [value["http_filters"] for each in options for value in each.values() if value.get("http_filters")]


def variants(static: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything, then everything but one part."""
    yield "everything", static
    last = {"envoy.filters.http.router", "envoy.filters.http.upstream_codec"}
    names = [each["name"] for each in http_manager(static["listeners"][0])["http_filters"]]
    for name in (each for each in names if each not in last):
        changed = copy.deepcopy(static)
        manager = http_manager(changed["listeners"][0])
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != name]
        yield f"listener: {name}", _without_key(changed, name)
    upstream = {each["name"] for filters in _upstream_filters(static) for each in filters}
    for name in sorted(upstream - last):
        changed = copy.deepcopy(static)
        for filters in _upstream_filters(changed):
            filters[:] = [each for each in filters if each["name"] != name]
        yield f"upstream: {name}", _without_key(changed, name)
    for name in ("access_log", "early_header_mutation_extensions", "local_reply_config"):
        changed = copy.deepcopy(static)
        if http_manager(changed["listeners"][0]).pop(name, None):
            yield name, changed


def measure_parts(directory: Path, scenario: str, *, rounds: int, seconds: float) -> tuple[Part, ...]:
    """Every variant in every round; medians. `bare` is a plain hop, for comparison."""
    backend, backend_port = start_backend(directory)
    row = next(each for each in SCENARIOS if each.name == scenario)
    found: dict[str, list[dict[str, float]]] = {}
    with backend:
        static = bootstrap(scenario, backend_port, directory)
        rows = [("bare", config.bare_envoy(backend_port)["static_resources"]), *variants(static)]
        for _ in range(rounds):
            for name, resources in rows:
                found.setdefault(name, [])
                try:
                    layers = {"layers": [{"name": "bench", "static_layer": RUNTIME}]}
                    boot = {"static_resources": resources, "layered_runtime": layers}
                    envoy = EnvoyProcess(boot, directory, log_level="error")
                except RuntimeError:
                    continue
                with envoy:
                    port = next(iter(envoy.listeners().values()))
                    runs = {
                        mode: measure(load_for(row, mode, port, seconds), {"envoy": (envoy.pid,)}) for mode in MODES
                    }
                if not any(run.failures for run in runs.values()):
                    found[name].append({mode: run.cpu_us["envoy"] for mode, run in runs.items()})
    return tuple(
        Part(
            name=name,
            without={mode: statistics.median(each[mode] for each in runs) for mode in MODES} if runs else None,
        )
        for name, runs in found.items()
    )


def table(parts: tuple[Part, ...]) -> str:
    """What each part costs: everything minus everything without it."""
    whole = next(each.without for each in parts if each.name == "everything")
    assert whole
    rows: list[list[str]] = []
    for part in parts:
        if part.without is None:
            rows.append([part.name, "needed", "", "", ""])
            continue
        left = [part.without[mode] for mode in MODES]
        costs = ["", ""]
        if part.name not in ("bare", "everything"):
            costs = [f"{whole[mode] - part.without[mode]:.0f}" for mode in MODES]
        rows.append([part.name, *(f"{each:.0f}" for each in left), *costs])
    return report.table(["without", "c=10 us/req", "c=1 us/req", "c=10 costs", "c=1 costs"], rows)
