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


@pytest.mark.parametrize(
    ("path", "operation", "stream"),
    [
        ("/v1/chat/completions?x=1", "chat", False),
        ("/anthropic/v1/messages", "messages", False),
        ("/v1beta/models/none:streamGenerateContent?alt=sse", "generate_content", True),
        ("/model/none/converse-stream", "chat", True),
        ("/v1/models", "", False),
        ("/nothing/there", "", False),
    ],
)
@pytest.mark.parametrize("root", ["", "/ai"])
def test_what_no_backend_was_asked_for_is_told_by_its_path(path: str, operation: str, stream: bool, root: str) -> None:
    (entry,) = read_message(_message("headgate/unknown-model", root + path), root)[1]
    record = make_record(entry)
    assert (record.rule, record.route, record.path) == ("headgate/unknown-model", "", path)
    assert (record.operation, record.stream) == (operation, stream)
