"""What bounds one Envoy: the memory that requests may fill, and connections.

    heap   0.80  memory that nobody needs goes back to the system, idle connections are closed
           0.85  the requests that hold most of it are cut, one after the other, up to 0.95: all of them (HTTP/2)
           0.90  no new requests (503), no connection is kept for another one
           0.95  what HTTP/1.1 is still receiving is cut, more and more of it

Without it a few clients that send large bodies slowly could have all memory of the machine: each body may be as large
as the cap on bodies, and a connection brings many. The largest go first, so that the others are served on.

A body that an HTTP/1.1 client holds back keeps its memory until the listener's time for requests is over: Envoy counts
no body of HTTP/1.1 as its stream's, and has no action for that time. `reduce_timeouts` could end what is idle, but then
also whoever waits for a model, so that one who fills the memory would end all their requests.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

CONNECTIONS_MAX: Final = 50_000
"""Downstream connections in all, where the process may open files enough (`connections_max`)."""
_OWN_FILES: Final = 128
"""Open files that Envoy needs whoever calls: listeners, a poll per worker, logs, the controller."""
HEAP_SHARE: Final = 0.5
"""Of the memory of a machine that Envoy shares with our processes."""
HEAP_MONITOR: Final = "envoy.resource_monitors.fixed_heap"
_TRACKED_POWER: Final = 20
"""Requests that hold less than 2^20 bytes are not told apart, and never cut."""
_CGROUPS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The container's limit, by the second and the first version of the kernel's interface."""
_TYPE: Final = "type.googleapis.com/envoy.extensions.resource_monitors"

_Json = Mapping[str, object]


def heap_monitor(bytes_max: int | str) -> _Json:
    """What `overload_manager` measures the heap by. Text is for who knows the number only later."""
    config = {"@type": f"{_TYPE}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": bytes_max}
    return {"name": HEAP_MONITOR, "typed_config": config}


def connections_max(files: int) -> int:
    """How many clients may be connected to a process that may open so many files (-1: any number); Envoy raises its
    soft limit to the hard one itself.

    Each may have a connection to a provider. At the limit of files Envoy would accept nobody, and ask no provider for
    those whom it had accepted; above its own limit it closes what comes, and serves the others.
    """
    return min(CONNECTIONS_MAX, max(1, (files - _OWN_FILES) // 2)) if files >= 0 else CONNECTIONS_MAX


def overload_manager(*monitors: _Json, connections: int = CONNECTIONS_MAX) -> _Json:
    """The bootstrap's; one of the monitors has to be of the heap, in whatever way it comes there."""
    of_connections = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{_TYPE}.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": connections,
        },
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [of_connections, *monitors],
        "actions": [
            _action("shrink_heap", threshold={"value": 0.8}),
            _action("close_idle_http_connections", threshold={"value": 0.8}),
            _action("reset_high_memory_stream", scaled={"scaling_threshold": 0.85, "saturation_threshold": 0.95}),
            _action("stop_accepting_requests", threshold={"value": 0.9}),
            _action("disable_http_keepalive", threshold={"value": 0.9}),
        ],
        "loadshed_points": [
            {
                "name": "envoy.load_shed_points.http1_server_abort_dispatch",
                "triggers": [
                    {"name": HEAP_MONITOR, "scaled": {"scaling_threshold": 0.95, "saturation_threshold": 1.0}}
                ],
            }
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED_POWER},
    }


def _action(name: str, **trigger: _Json) -> _Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": HEAP_MONITOR, **trigger}]}


def heap_bytes_default() -> int:
    """A share of what this machine has, or its container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit
            found.append(int(path.read_text()))
    return int(min(found) * HEAP_SHARE)
