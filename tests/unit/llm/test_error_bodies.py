"""Error bodies in every dialect a client may speak."""

import json

import pytest
from headgate.llm.error_bodies import error_body, error_response
from headgate.llm.errors import ErrorKind, RequestError, UnsupportedTranslation, kind_of_status
from headgate.llm.names import DialectName


@pytest.mark.parametrize("dialect", DialectName)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 418, 422, 429, 500, 502, 503, 529])
def test_every_dialect_says_every_status(dialect: DialectName, status: int) -> None:
    body = json.loads(error_response(dialect, status, "It is wrong."))

    assert "It is wrong." in json.dumps(body)


def test_a_missing_model_in_both_shapes() -> None:
    openai = json.loads(error_response("openai-chat", 404, "no such model", code="model_not_found", param="model"))
    anthropic = json.loads(error_response("anthropic-messages", 404, "no such model", request_id="r"))

    assert (openai["error"]["code"], openai["error"]["param"]) == ("model_not_found", "model")
    assert anthropic == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "no such model"},
        "request_id": "r",
    }


def test_quota_and_rate_stay_apart() -> None:
    def said(dialect: str, kind: ErrorKind) -> str:
        return json.dumps(json.loads(error_response(dialect, 429, "x", kind=kind))["error"])

    for dialect in ("openai-chat", "anthropic-messages"):
        assert said(dialect, ErrorKind.QUOTA) != said(dialect, ErrorKind.RATE_LIMIT)


def test_our_own_errors_name_the_path() -> None:
    body = json.loads(error_body("openai-chat", RequestError("must be a string", path="messages[0].content")))
    assert body["error"]["message"] == "messages[0].content: must be a string"
    assert body["error"]["param"] == "messages[0].content"

    refused = json.loads(error_body("anthropic-messages", UnsupportedTranslation("no audio", path="messages[0]")))
    assert refused["error"] == {"type": "invalid_request_error", "message": "messages[0]: no audio"}


def test_kinds_of_statuses_nobody_listed() -> None:
    assert kind_of_status(418) is ErrorKind.INVALID_REQUEST
    assert kind_of_status(599) is ErrorKind.INTERNAL
