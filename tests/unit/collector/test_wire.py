"""Routes of Envoy Gateway are called as ours are, so that records of both can be told by route and operation."""

import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from headgate.collector.wire import read_message
from headgate.ledger.joining import make_record


def _message(route: str, path: str) -> bytes:
    message = StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    entry.common_properties.route_name = route
    entry.request.path = path
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("route", "path", "operation"),
    [
        ("httproute/ns/chat/rule/0/match/1/*", "/v1/chat/completions?x=1", "chat"),
        ("httproute/ns/chat/rule/0/match/1/*.example.com", "/anthropic/v1/messages", "messages"),
        ("httproute/ns/chat/rule/0/match/1/*", "/" + "x" * 10_000, "any"),
        ("ns/chat/rule/0/chat/match/1", "/whatever", "chat"),
    ],
)
def test_a_route_of_envoy_gateway_is_called_as_ours(route: str, path: str, operation: str) -> None:
    (entry,) = read_message(_message(route, path))[1]
    record = make_record(entry)
    assert (record.route, record.operation) == ("ns/chat", operation)
    assert record.rule == f"ns/chat/rule/0/{operation}/match/1"


def test_other_names_stay() -> None:
    (entry,) = read_message(_message("headgate/no-model", "/v1/chat/completions"))[1]
    assert (entry.route, make_record(entry).route) == ("headgate/no-model", "")
