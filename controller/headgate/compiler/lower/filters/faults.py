"""Faults that a policy injects: requests that wait, or are answered, before any backend is asked.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
"""

from functools import lru_cache

from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any
from headgate.compiler import answers
from headgate.compiler.lower.wire import duration, http_filter, packed

FILTER = "envoy.filters.http.fault"


def injector() -> HttpFilter:
    """Does nothing but on the routes that say what."""
    return http_filter(FILTER, HTTPFault())


@lru_cache(maxsize=256)
def per_route(fault: answers.Fault) -> Any:
    """What is done on a route."""
    message = HTTPFault()
    if fault.delayed:
        message.delay.CopyFrom(
            FaultDelay(fixed_delay=duration(fault.delay_seconds), percentage=_millionths(fault.delayed))
        )
    if fault.aborted:
        message.abort.CopyFrom(FaultAbort(http_status=fault.abort_status, percentage=_millionths(fault.aborted)))
    return packed(message)


def _millionths(number: int) -> FractionalPercent:
    return FractionalPercent(numerator=number, denominator=FractionalPercent.MILLION)
