"""Errors of the chat dialect, read from many servers and written for OpenAI's SDK."""

import json

import pytest
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.errors import ErrorDetail, ErrorKind


def error(**members: object) -> bytes:
    return json.dumps({"error": members}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "code"),
    [
        (
            429,
            error(message="slow down", type="requests", code="rate_limit_exceeded"),
            ErrorKind.RATE_LIMIT,
            "slow down",
            "rate_limit_exceeded",
        ),
        (
            429,
            error(message="pay", type="insufficient_quota", code="insufficient_quota"),
            ErrorKind.QUOTA,
            "pay",
            "insufficient_quota",
        ),
        (
            400,
            error(message="too long", type="invalid_request_error", code="context_length_exceeded", param="messages"),
            ErrorKind.INVALID_REQUEST,
            "too long",
            "context_length_exceeded",
        ),
        (
            404,
            error(message="no", type="invalid_request_error", code="model_not_found"),
            ErrorKind.NOT_FOUND,
            "no",
            "model_not_found",
        ),
        (
            401,
            error(message="key", type="invalid_request_error", code="invalid_api_key"),
            ErrorKind.AUTHENTICATION,
            "key",
            "invalid_api_key",
        ),
        (500, error(message="oops", type="server_error"), ErrorKind.INTERNAL, "oops", ""),
        (503, error(message="busy", type="server_error"), ErrorKind.OVERLOADED, "busy", ""),
        (402, error(message="credit", code=402), ErrorKind.QUOTA, "credit", ""),
        (400, b'{"error": "bad"}', ErrorKind.INVALID_REQUEST, "bad", ""),
        (
            422,
            b'{"object":"error","message":"bad","type":"invalid_request_error","code":"x"}',
            ErrorKind.INVALID_REQUEST,
            "bad",
            "x",
        ),
        (422, b'{"detail":"bad"}', ErrorKind.INVALID_REQUEST, "bad", ""),
        (422, b'{"detail":[{"loc":["a"]}]}', ErrorKind.INVALID_REQUEST, '[{"loc":["a"]}]', ""),
        (
            502,
            b"<html>\n <b>Bad</b></html>",
            ErrorKind.INTERNAL,
            "the provider answered 502: <html> <b>Bad</b></html>",
            "",
        ),
        (500, b"", ErrorKind.INTERNAL, "the provider answered 500 without a message", ""),
        (500, b"{}", ErrorKind.INTERNAL, "the provider answered 500: {}", ""),
        (
            500,
            b'{"error":{"message":"\xff"}}',
            ErrorKind.INTERNAL,
            'the provider answered 500: {"error":{"message":"�"}}',
            "",
        ),
        (500, b'{"detail":"\xff"}', ErrorKind.INTERNAL, 'the provider answered 500: {"detail":"�"}', ""),
    ],
)
def test_errors_are_read(status: int, body: bytes, kind: ErrorKind, message: str, code: str) -> None:
    detail = DIALECT.decode_error(status, {"x-request-id": "req_1"}, body)
    assert (detail.status, detail.kind, detail.message, detail.code) == (status, kind, message, code)
    assert detail.request_id == "req_1"


def test_a_page_is_quoted_in_part() -> None:
    assert len(DIALECT.decode_error(502, {}, b"x" * 100_000).message) < 1_100


def written(detail: ErrorDetail) -> dict[str, object]:
    return json.loads(DIALECT.encode_error(detail))


def test_errors_are_written_in_openais_shape() -> None:
    detail = ErrorDetail(400, ErrorKind.INVALID_REQUEST, "wrong", param="messages[0]")
    assert written(detail) == {
        "type": "error",
        "error": {"message": "wrong", "type": "invalid_request_error", "param": "messages[0]", "code": "400"},
    }


def test_quota_and_rate_stay_apart_whatever_the_other_dialect_calls_them() -> None:
    rate = written(ErrorDetail(429, ErrorKind.RATE_LIMIT, "x", type="rate_limit_error"))["error"]
    quota = written(ErrorDetail(429, ErrorKind.QUOTA, "x", type="billing_error"))["error"]
    assert rate == {"message": "x", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    assert quota == {"message": "x", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_what_is_written_is_read_back(kind: ErrorKind) -> None:
    status = {
        ErrorKind.INVALID_REQUEST: 400,
        ErrorKind.AUTHENTICATION: 401,
        ErrorKind.PERMISSION: 403,
        ErrorKind.NOT_FOUND: 404,
        ErrorKind.TOO_LARGE: 413,
        ErrorKind.RATE_LIMIT: 429,
        ErrorKind.QUOTA: 429,
        ErrorKind.TIMEOUT: 504,
        ErrorKind.OVERLOADED: 529,
        ErrorKind.INTERNAL: 500,
    }[kind]
    detail = ErrorDetail(status, kind, "words")
    assert DIALECT.decode_error(status, {}, DIALECT.encode_error(detail)).kind is kind
