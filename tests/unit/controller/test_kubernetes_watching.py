"""Lines and bodies of the Kubernetes API as values."""

import json

import pytest
from headgate.controller.sources.kubernetes.watching import (
    Failed,
    Mark,
    Position,
    ProtocolError,
    Put,
    Removed,
    decode_event,
    decode_page,
)


def line(type_: str, **members: object) -> bytes:
    return json.dumps({"type": type_, "object": members}).encode()


def test_objects_come_without_what_nobody_reads() -> None:
    metadata = {
        "name": "a",
        "resourceVersion": "7",
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"},
    }
    event = decode_event(line("MODIFIED", kind="Secret", metadata=metadata))
    assert isinstance(event, Put)
    assert event.version == "7"
    assert event.raw["metadata"] == {"name": "a", "resourceVersion": "7", "annotations": {"kept": "yes"}}


def test_the_end_of_a_streamed_list_is_a_bookmark_that_says_so() -> None:
    end = {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}
    assert decode_event(line("BOOKMARK", metadata=end)) == Mark("9", initial_end=True)
    assert decode_event(line("BOOKMARK", metadata={"resourceVersion": "10"})) == Mark("10", initial_end=False)


def test_an_expired_version_needs_a_new_list() -> None:
    position = Position()
    position.seen(Removed({}, "12"))
    assert position.watch_query(300)["resourceVersion"] == "12"
    event = decode_event(line("ERROR", code=410, message="too old resource version"))
    assert event == Failed(410, "too old resource version")
    position.seen(event)
    assert position.watch_query(300)["sendInitialEvents"] == "true"


def test_a_mark_without_a_version_does_not_forget_the_last() -> None:
    position = Position(version="5")
    position.seen(Mark("", initial_end=False))
    assert position.version == "5"


def test_items_of_a_page_are_told_what_they_are() -> None:
    body = {"metadata": {"resourceVersion": "3", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}
    page = decode_page(json.dumps(body).encode(), "v1", "Secret")
    assert (page.version, page.more) == ("3", "next")
    assert page.items == ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},)
    assert decode_page(b'{"metadata": {}, "items": null}', "v1", "Secret").items == ()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"type": "SOMETHING", "object": {}}', b'{"type": "ADDED"}'])
def test_nonsense_is_a_protocol_error(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_event(text)
