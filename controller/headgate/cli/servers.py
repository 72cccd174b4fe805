"""The servers of ours that `headgate run` starts beside Envoy, and what their output means while it starts."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from headgate.cli.run_options import STDOUT, RunOptions
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory
from headgate.collector.settings import LEDGER_VARIABLE
from headgate.contract import otel
from headgate.contract.otel import Signal
from headgate.ratelimit.settings import REDIS_VARIABLE
from headgate.runtime.answering import by_grpc, by_http
from headgate.runtime.supervisor import ChildSpec, relay_output

STOP_SECONDS: Final = 10.0
"""What a server gets to end after Envoy has gone: no request is left by then."""
_DRAIN_SECONDS: Final = "2"
_KEEP_SECONDS: Final = 30.0
"""The same for the collector, whose records would be lost with it."""
RATELIMIT: Final = "ratelimit"
"""Name of the rate limit service among the children."""
COLLECTOR: Final = "collector"
"""And of the collector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderAttributes:
    """(request header, attribute) pairs that the collector is told."""

    records: Sequence[tuple[str, str]] = ()
    metrics: Sequence[tuple[str, str]] = ()
    """Those that become labels of metrics; all of them are in `records` too."""


NO_ATTRIBUTES: Final = HeaderAttributes()


@dataclass(frozen=True, slots=True)
class Server:
    """A child that serves a socket of ours, and the Envoy cluster that stands for it.

    While a child restarts, Envoy is not refused but waits, 5 s for a limit and 10 s for a translation: what comes
    meanwhile does not fail, pass a limit unchecked or get lost.
    """

    spec: ChildSpec
    socket: Path
    cluster: str


def servers(
    options: RunOptions, state: StateDirectory, attributes: HeaderAttributes = NO_ATTRIBUTES
) -> tuple[Server, ...]:
    """Processors, rate limit service, collector, which is told the header `attributes`.

    Imports the compiler's names, so call it after the first build.
    """
    from headgate.compiler.lower.clusters import RATELIMIT_CLUSTER
    from headgate.compiler.lower.filters.extraction import EXTPROC_CLUSTER
    from headgate.compiler.lower.filters.telemetry import COLLECTOR_CLUSTER

    processors = [
        Server(_processor(index, socket, options, state), socket, EXTPROC_CLUSTER)
        for index, socket in enumerate(state.extproc_sockets(options.workers))
    ]
    found = [*processors, Server(_ratelimit(options, state), state.ratelimit_socket, RATELIMIT_CLUSTER)]
    if options.collects or options.collects_spans:
        found.append(Server(_collector(options, state, attributes), state.collector_socket, COLLECTOR_CLUSTER))
    return tuple(found)


def demo_child(socket: Path) -> ChildSpec:
    """The demo provider on a unix socket."""
    command = (sys.executable, "-m", "headgate.cli.demo", "--address", f"unix:{socket}")
    return ChildSpec(name="demo", command=command, answers=by_http(socket), stop_seconds=STOP_SECONDS)


def _processor(index: int, socket: Path, options: RunOptions, state: StateDirectory) -> ChildSpec:
    listening = state.listen(socket)
    arguments = ("--address", f"fd:{listening}", "--drain-seconds", _DRAIN_SECONDS)
    if options.capture_rules is not None:
        arguments += ("--capture-rules", str(options.capture_rules))
    spec = _ours(f"extproc-{index}", "headgate.extproc.main", socket, arguments, options, state)
    captures = otel.captured_content(os.environ)
    console = (captures.spans and _to_console(Signal.TRACES)) or (captures.events and _to_console(Signal.LOGS))
    return replace(spec, inherit_stdout=console or _to_console(Signal.METRICS), descriptors=(listening,))


def _ratelimit(options: RunOptions, state: StateDirectory) -> ChildSpec:
    listening = state.listen(state.ratelimit_socket)
    arguments = ["--address", f"fd:{listening}", "--config", str(state.limits)]
    arguments += ["--drain-seconds", _DRAIN_SECONDS]
    spec = _ours(RATELIMIT, "headgate.ratelimit.main", state.ratelimit_socket, tuple(arguments), options, state)
    variables = {**os.environ, REDIS_VARIABLE: options.redis_url}
    inherit = _to_console(Signal.METRICS)
    return replace(spec, environment=variables, inherit_stdout=inherit, descriptors=(listening,))


def _collector(options: RunOptions, state: StateDirectory, attributes: HeaderAttributes) -> ChildSpec:
    listening = state.listen(state.collector_socket)
    arguments = ["--address", f"fd:{listening}", "--spool", str(state.spool)]
    arguments += ["--request-header-attributes", ",".join(":".join(pair) for pair in attributes.records)]
    arguments += ["--metrics-attributes", ",".join(attribute for _, attribute in attributes.metrics)]
    arguments += ["--root-prefix", options.root_prefix, *(["--spans"] if options.collects_spans else [])]
    if options.observe:
        arguments.append("--observe")
    if options.access_log and options.collects:
        arguments += ["--json-lines", "-" if options.access_log == STDOUT else options.access_log]
    if options.prices is not None:
        arguments += ["--prices", str(options.prices)]
    return replace(
        _ours(COLLECTOR, "headgate.collector.main", state.collector_socket, tuple(arguments), options, state),
        # not on the command line, which everybody on this machine can read: a URL may hold a password
        environment={**os.environ, LEDGER_VARIABLE: "" if options.ledger is None else ledger_url(options, os.environ)},
        stop_seconds=_KEEP_SECONDS,
        inherit_stdout=options.access_log == STDOUT or any(_to_console(signal) for signal in Signal),
        descriptors=(listening,),
    )


def _to_console(signal: Signal) -> bool:
    """Whether variables want a signal on standard output, which is ours."""
    found = otel.destination(os.environ, signal, [])
    return found is not None and found.console


def ledger_url(options: RunOptions, environment: Mapping[str, str]) -> str:
    """Where usage is kept. Raises StartError where nothing can be."""
    from headgate.collector.store.database import StoreError, default_url, open_engine

    url = options.ledger or environment.get(LEDGER_VARIABLE) or default_url()
    try:
        open_engine(url).dispose()
    except StoreError as error:
        raise StartError(f"--ledger: {error}") from error
    return url


def _ours(
    name: str, module: str, socket: Path, arguments: tuple[str, ...], options: RunOptions, state: StateDirectory
) -> ChildSpec:
    program = f"import sys; from {module} import main; sys.exit(main())"
    logs = ["--log-level", options.log_level.value, "--log-format", options.log_format.value, "--variables-told"]
    if options.admin_port is not None:
        logs += ["--admin-socket", str(state.admin_socket(name))]
    return ChildSpec(
        name=name,
        command=(sys.executable, "-c", program, *arguments, *logs),
        on_line=relay_output,
        answers=by_grpc(socket),
        stop_seconds=STOP_SECONDS,
    )


@dataclass(slots=True)
class HeldOutput:
    """Keeps children's lines back until the start is through: if it fails, one clear line has to be enough."""

    _held: list[tuple[ChildSpec, str]] | None = field(default_factory=list[tuple[ChildSpec, str]])
    _last: dict[str, str] = field(default_factory=dict[str, str])

    def hold(self, spec: ChildSpec) -> ChildSpec:
        """`spec` with its output held."""
        return replace(spec, on_line=partial(self._take, spec))

    def release(self) -> None:
        """Writes what was held; from now on lines go where they belong at once."""
        held, self._held = self._held or [], None
        for spec, line in held:
            spec.on_line(spec.name, line)

    def last_line(self, child: str) -> str:
        """The last thing a child said."""
        return self._last.get(child, "")

    def _take(self, spec: ChildSpec, child: str, line: str) -> None:
        if self._held is None:
            spec.on_line(child, line)
        else:
            self._last[child] = line
            self._held.append((spec, line))
