"""How fast it starts, compiles and changes."""

import http.client
import json
import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.compiler.compile import compile_world
from headgate.compiler.conditions import Severity
from headgate.compiler.options import Options
from headgate.controller.sources.files import load
from headgate.runtime.garbage import collect_rarely
from support.gateway import Gateway
from support.ports import free_port

from bench import configuration as config
from bench.load import Load, Result
from bench.measure import run_load, start_backend
from bench.scenarios import SCENARIOS, Ports

ROUTES: Final = 1000
CHANGED: Final = 500
"""Number of the route that is changed among them."""
STARTS: Final = 5
CHANGES: Final = 10
LOAD_SECONDS: Final = 12.0
PAUSE_SECONDS: Final = 0.02
"""Between requests of a connection: some two hundred a second, so that the change does not wait for a CPU."""
POLL_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """Seconds for a thousand routes with three backends each."""

    load_seconds: float
    """Reading the YAML."""
    compile_seconds: float
    again_seconds: float
    """Compiling again after one route has changed."""
    resources: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Seconds from saving a changed route among a thousand to the first answer by it."""

    seconds: tuple[float, ...]
    requests: int
    """Sent through other routes meanwhile."""
    failures: int
    errors: tuple[str, ...]
    start_seconds: float
    """From the command to `ready` with a thousand routes."""


def ask(port: int, body: str) -> int:
    """The status of one request on a connection of its own; 0 where nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
    except OSError:
        return 0
    else:
        return response.status
    finally:
        connection.close()


def cold_starts(directory: Path, arguments: tuple[str, ...]) -> tuple[float, ...]:
    """Seconds from the command to the first 200 through Envoy, with one route; several times."""
    backend, backend_port = start_backend(directory)
    native = next(scenario for scenario in SCENARIOS if scenario.name == "native")
    assert native.route
    times: list[float] = []
    with backend:
        for number in range(STARTS):
            port = free_port()
            objects = [config.gateway_class(), config.gateway("native", port)]
            objects += native.route("native", Ports(gateway=port, backend=backend_port))
            here = directory / f"start{number}"
            here.mkdir()
            started = time.monotonic()
            with Gateway(config.documents(*objects), here, *arguments, wait=False) as gateway:
                while ask(port, native.body()) != 200:
                    gateway.child.require_alive()
                    time.sleep(POLL_SECONDS)
                times.append(time.monotonic() - started)
    return tuple(times)


def compilation(directory: Path) -> Compilation:
    """Compiles a thousand routes in this process, which collects garbage as the controller's does."""
    collect_rarely()
    file = directory / "many.yaml"
    file.write_text(config.documents(*config.many_routes(ROUTES, 18080, 18081)))
    options = Options(
        extproc_sockets=("/run/headgate/extproc-0.sock",), ratelimit_socket="/run/headgate/ratelimit.sock"
    )
    times = [time.perf_counter()]
    loaded = load([file], environment=dict(os.environ))
    times.append(time.perf_counter())
    compiled = compile_world(loaded.world, options)
    times.append(time.perf_counter())
    changed = directory / "changed.yaml"
    changed.write_text(file.read_text().replace(f"model-{CHANGED}-upstream", "another"))
    file.write_text(changed.read_text())
    changed.unlink()
    world = load([file], environment=dict(os.environ), previous=loaded).world
    before = time.perf_counter()
    compile_world(world, options)
    errors = [each for each in compiled.diagnostics if each.severity is Severity.ERROR]
    return Compilation(
        load_seconds=times[1] - times[0],
        compile_seconds=times[2] - times[1],
        again_seconds=time.perf_counter() - before,
        resources=sum(len(named) for named in compiled.resources.values()),
        errors=len(errors),
    )


def route_changes(directory: Path, arguments: tuple[str, ...]) -> Changes:
    """Changes one route among a thousand, again and again, under load through another."""
    backend, backend_port = start_backend(directory)
    port = free_port()
    others = list(config.many_routes(ROUTES, port, backend_port))
    changed = next(each for each in others if each["metadata"]["name"] == f"route-{CHANGED}")
    others.remove(changed)
    files = {"others.yaml": config.documents(*others), "changed.yaml": config.documents(changed)}
    with backend, Gateway(files, directory, *arguments, timeout_seconds=120) as gateway:
        results: list[Result] = []
        steady = Load(
            host="127.0.0.1",
            port=port,
            path="/v1/chat/completions",
            body=chat_body("model-1"),
            connections=4,
            pause_seconds=PAUSE_SECONDS,
            seconds=LOAD_SECONDS,
        )
        thread = threading.Thread(target=lambda: results.append(run_load(steady)), name="load")
        thread.start()
        seconds = tuple(_one_change(gateway, port, number) for number in range(CHANGES))
        thread.join()
        (result,) = results
        return Changes(
            seconds=seconds,
            requests=result.requests,
            failures=result.failures,
            errors=tuple(result.errors),
            start_seconds=gateway.ready_seconds,
        )


def chat_body(model: str) -> str:
    """A small chat request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})


def _one_change(gateway: Gateway, port: int, number: int) -> float:
    """Gives the route a new model name and waits until that is served."""
    model = f"changed-{number}"
    route = config.many_route(CHANGED)
    route["spec"]["rules"][0]["matches"][0]["headers"][0]["value"] = model
    text = config.documents(route)
    body = chat_body(model)
    saved = time.monotonic()
    gateway.write(text, "changed.yaml")
    while ask(port, body) != 200:
        gateway.child.require_alive()
        if time.monotonic() - saved > 30:
            raise TimeoutError(f"change {number} was not served in 30 s:\n{gateway.output[-2000:]}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - saved


def start_lines(starts: tuple[float, ...]) -> dict[str, str]:
    """Lines of the report."""
    return {"cold start to the first 200": _spread(starts)}


def compilation_lines(compiled: Compilation) -> dict[str, str]:
    """Lines of the report."""
    found = f"{compiled.resources} resources, {compiled.errors} errors"
    return {
        f"load {ROUTES} routes x 3 backends": f"{compiled.load_seconds:.2f} s",
        f"compile {ROUTES} routes x 3 backends": f"{compiled.compile_seconds:.2f} s ({found})",
        "compile again after one change": f"{compiled.again_seconds:.3f} s",
    }


def change_lines(changes: Changes) -> dict[str, str]:
    """Lines of the report."""
    return {
        f"start with {ROUTES} routes to ready": f"{changes.start_seconds:.2f} s",
        f"one route of {ROUTES} changed, until served": _spread(changes.seconds),
        "requests during those changes": f"{changes.requests}, {changes.failures} failed {'; '.join(changes.errors)}",
    }


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.3f} s median, {max(values):.3f} s worst of {len(values)}"
