"""What a gateway is to serve: files, what the environment holds keys for, or the demo."""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli import providers, welcome
from headgate.cli.run_options import STDOUT, RunOptions
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory
from headgate.contract import otel, otel_unread
from headgate.contract.attributes import ATTRIBUTES_DEFAULT, AttributesError, merged_attributes
from headgate.contract.otel import Exporter, Protocol, Signal, Tracing
from headgate.runtime.logging import event_log

if TYPE_CHECKING:
    from headgate.compiler.ir import AccessLog
    from headgate.compiler.options import Options
    from headgate.compiler.resources import core
    from headgate.compiler.resources.metadata import Name
    from headgate.controller.loop import Build

    Tokens = Mapping[Name, core.Secret]

log = event_log("run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to serve."""

    build: "Callable[[Tokens], Build]"
    """Loads and compiles, with the Secrets that exchanges have made; called in a thread, before the start is through
    and after every change."""
    watched: tuple[Path, ...] = ()
    """What is built again when it changes."""
    told: tuple[str, ...] = ()
    """Lines for the user at the start."""
    welcome: Callable[[str], str] | None = None
    """From the base URL to what is printed after `ready`."""
    example_model: str = "MODEL"
    """One that is served, for a first request."""
    demo_socket: Path | None = None
    """Where the demo provider has to listen; None if it is not needed."""


def make_plan(options: RunOptions, state: StateDirectory, environment: Mapping[str, str]) -> Plan:
    """The plan of a command line. Raises StartError for what it names and cannot be read, written or understood."""
    _require_writable(options.access_log)
    record_attributes(options, environment)  # wrong ones are said before anything is started
    notes = (*_tracing(options, state, environment)[1], *_other_notes(options, environment))
    if options.paths:
        _require_readable(options.paths)
        return Plan(build=_builder(options.paths, options, state, environment), watched=options.paths, told=notes)
    found = providers.find(environment)
    text = providers.manifests(found, port=options.port, demo_socket=state.demo_socket)
    path = state.path / "gateway.yaml"
    path.write_text(text)
    return Plan(
        build=_builder((path,), options, state, environment),
        told=(*notes, *(found.told or ("no provider key in the environment: serving the demo provider",))),
        welcome=welcome.maker(found),
        example_model=welcome.example_model(found),
        demo_socket=None if found.used else state.demo_socket,
    )


def _require_readable(paths: tuple[Path, ...]) -> None:
    for path in paths:
        try:
            if not path.is_dir():
                with path.open("rb"):
                    pass
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from error


def _require_writable(access_log: str) -> None:
    """Envoy would refuse a listener whose log it cannot open; asked for in `make_plan`, it is one clear line."""
    if access_log in ("", STDOUT):
        return
    path = Path(access_log)
    try:
        if path.exists():
            # a pipe must not be waited for
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            # no file is made: where an EnvoyProxy names the logs, this one is never written
            reason = errno.EACCES if path.parent.is_dir() else errno.ENOTDIR if path.parent.exists() else errno.ENOENT
            raise OSError(reason, os.strerror(reason))
    except OSError as error:
        raise StartError(f"cannot write {access_log}: {error.strerror}") from error


def _builder(
    paths: tuple[Path, ...], options: RunOptions, state: StateDirectory, environment: Mapping[str, str]
) -> "Callable[[Tokens], Build]":
    built: list[Callable[[Tokens], Build]] = []

    def build(tokens: "Tokens") -> "Build":
        if not built:
            # The compiler is imported with the first build, in its thread: Envoy and gRPC start meanwhile.
            from headgate.controller.configuration import Configuration

            built.append(Configuration(paths, _compiler_options(options, state, environment), environment).build)
        return built[0](tokens)

    return build


def _compiler_options(options: RunOptions, state: StateDirectory, environment: Mapping[str, str]) -> "Options":
    import ssl

    from headgate import lua
    from headgate.compiler.options import SYSTEM_CA_FILE, Options

    lua.write(state.scripts)
    return Options(
        listen_address=options.listen_address,
        extproc_sockets=tuple(map(str, state.extproc_sockets(options.workers))),
        ratelimit_socket=str(state.ratelimit_socket),
        ratelimit_failure_deny=options.ratelimit_fail_closed,
        lua_directory=str(state.scripts),
        path_root=options.root_prefix,
        secrets_directory=str(state.files),
        # a collector writes the lines itself
        access_log=_access_log(options.access_log) if not options.collects else "",
        collector_socket=str(state.collector_socket) if options.collects else "",
        header_attributes=record_attributes(options, environment),
        tracing=(tracing := _tracing(options, state, environment)[0]),
        # the processor's spans and events are parts of Envoy's traces
        capture=tracing is not None and otel.captured_content(environment).any,
        # a collector sends them itself
        logs=_logs(environment) if not options.collects else (),
        # where this system has it, or SSL_CERT_FILE says
        ca_file=ssl.get_default_verify_paths().cafile or SYSTEM_CA_FILE,
    )


def header_attributes(options: RunOptions, environment: Mapping[str, str], signal: str) -> tuple[tuple[str, str], ...]:
    """Request headers that become attributes of a signal (`LOG`, `SPAN`, `METRICS`). Raises StartError."""
    given = {"LOG": options.header_attributes, "SPAN": options.span_attributes, "METRICS": options.metrics_attributes}
    own, common = given[signal], options.common_attributes
    if own is None:
        own = environment.get(f"OTEL_AIGW_{signal}_REQUEST_HEADER_ATTRIBUTES")
    if common is None:
        common = environment.get("OTEL_AIGW_REQUEST_HEADER_ATTRIBUTES", "")
    try:
        otherwise = "" if signal == "METRICS" else ATTRIBUTES_DEFAULT
        return tuple(sorted(merged_attributes(common, own, otherwise).items()))
    except AttributesError as error:
        raise StartError(f"request header attributes: {error}") from None


def record_attributes(options: RunOptions, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What records tell of headers: what logs and metrics do. Raises StartError."""
    # a header may have another name in each
    found = (header_attributes(options, environment, signal) for signal in ("METRICS", "LOG"))
    return tuple(sorted(set(chain.from_iterable(found))))


def _tracing(
    options: RunOptions, state: StateDirectory, environment: Mapping[str, str]
) -> tuple[Tracing | None, tuple[str, ...]]:
    collector = Exporter(
        protocol=Protocol.GRPC, authority="headgate-collector", addresses=(), socket=str(state.collector_socket)
    )
    via = collector if options.collects_spans else None
    tracing, notes = otel.tracing(environment, header_attributes(options, environment, "SPAN"), via)
    if otel.captured_content(environment).any:
        said = "content of chats is captured: they all go through the processor"
        notes = (*notes, said if tracing else "no content is captured: nothing is traced")
    return tracing, notes


def _other_notes(options: RunOptions, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What is to be said of options and variables, but for those of traces: the processes that we start do not."""
    notes = [*otel_unread.notes(environment)]
    if options.prices is not None and not options.collects:
        notes.append("--prices is of no use without --ledger, --metrics or --observe: nobody reads it")
    if otel.destination(environment, Signal.METRICS, notes):
        # Imported here: messages of OpenTelemetry's for those who need them.
        from headgate.runtime.otlp.metrics import metrics_settings

        notes += metrics_settings(environment)[1]
    events = otel.captured_content(environment).events
    if otel.destination(environment, Signal.LOGS, notes) if events else otel.log_destination(environment, notes):
        otel.batches(environment, Signal.LOGS, notes)
        otel.attribute_limits(environment, Signal.LOGS, notes)
    return tuple(dict.fromkeys(notes))


def _access_log(path: str) -> str:
    """Standard output is opened by name, which fails for a socket (some process managers): then no log is kept."""
    if path == STDOUT and stat.S_ISSOCK(os.fstat(1).st_mode):
        log.warning("no_access_log", reason="standard output is a socket; name a file with --access-log")
        return ""
    return path


def _logs(environment: Mapping[str, str]) -> "tuple[AccessLog, ...]":
    """OpenTelemetry's logs, where they are asked for."""
    from headgate.compiler.ir import AccessLog

    found = otel.log_destination(environment, [])
    if found is None or found.receiver is None:
        return ()
    name, others = otel.resource(environment)
    return (AccessLog(otlp=found.receiver, resource=(("service.name", name), *others)),)
