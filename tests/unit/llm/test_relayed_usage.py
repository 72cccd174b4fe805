"""What is relayed by the processor is counted by it, in every dialect: where a route has no costs nobody else does."""

import json

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.planning import plan

PATH = "/v1beta/models/m:{}"
SAID = {"candidates": [{"content": {"role": "model", "parts": [{"text": "It is sunny."}]}, "index": 0}]}
BEGUN = {**SAID, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": "gemini-x"}
COUNTED = {
    "promptTokenCount": 9,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 2,
    "totalTokenCount": 16,
    "cachedContentTokenCount": 4,
}
ENDED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0, "finishReason": "STOP"}],
    "usageMetadata": COUNTED,
}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_relayed_answer_of_google_is_counted(streamed: bool) -> None:
    path = PATH.format("streamGenerateContent?alt=sse" if streamed else "generateContent")
    endpoint = lookup(path.partition("?")[0])
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect="gemini", model="gemini-x", response_model="requested"))
    asked = {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]}
    request = chosen.translate_request(json.dumps(asked).encode(), {":path": path})
    kind = "text/event-stream" if streamed else "application/json"
    answer = chosen.open_response(request, 200, {"content-type": kind}, 1)
    if streamed:
        for event in (BEGUN, ENDED):
            answer.feed(f"data: {json.dumps(event)}\r\n\r\n".encode())
    else:
        answer.feed(json.dumps({**BEGUN, "usageMetadata": COUNTED}).encode())
    answer.close()
    usage = answer.usage
    assert (usage.input, usage.output, usage.cached_input, usage.reasoning) == (9, 7, 4, 2)
    assert not answer.estimated
