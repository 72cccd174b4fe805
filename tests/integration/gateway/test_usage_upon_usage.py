"""What a provider sends costs an Envoy no more than its size, whatever it looks like."""

import time
from collections.abc import Iterator

import pytest
from support.every_dialect import every_dialect
from support.providers import Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

BYTES = 500_000


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with every_dialect() as stage:
        yield stage


def _seconds(stage: Stage, unit: bytes) -> float:
    """Of an answer that is full of it; called a page, as such an answer is read in one piece."""
    body = b"{" + unit * (BYTES // len(unit))
    stage["any"].answer(Raw(body=body, content_type="text/html"))
    start = time.monotonic()
    assert stage.post("/v1/responses", {"model": "openai-responses", "input": "a"}).content == body
    return time.monotonic() - start


@pytest.mark.parametrize("unit", [b'"usage":{"a":1}}', b'{"usage":{"a":1},', b'"usage":{},"a":', b'"background":true,'])
def test_usage_upon_usage_takes_no_longer_than_other_text(stage: Stage, unit: bytes) -> None:
    assert _seconds(stage, unit) < 10 * _seconds(stage, b'"a":1,') + 1
