"""`headgate explain` for one request tells what the configuration would do with it."""

from pathlib import Path

import pytest
from headgate.cli.explain import request_lines
from headgate.compiler import ir
from headgate.compiler.compile import compile_world
from headgate.compiler.matching import Request
from headgate.compiler.options import Options
from headgate.controller.sources.files import load

CASES = Path(__file__).parents[2] / "golden" / "compile"
OPTIONS = Options(
    extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock", lua_directory="/lua", secrets_directory="/f"
)


def program(case: str) -> ir.Program:
    return compile_world(load((CASES / case / "in.yaml",), environment={}).world, OPTIONS).program


def explained(case: str, *, path: str = "/v1/chat/completions", host: str = "localhost", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return "\n".join(
        request_lines(
            program(case),
            Request(host=host, path=path, method="POST", headers={"x-ai-eg-model": named.pop("model", "")} | named),
        )
    )


def test_attempts_come_in_order_of_priority() -> None:
    text = explained("failover", model="smart")
    assert text.index("attempt 1, weight 3: default/openai") < text.index("attempt 2, weight 1: default/claude")
    assert "openai-chat is translated to anthropic-messages and back" in text


def test_a_path_that_one_backend_cannot_serve_leaves_it_out() -> None:
    text = explained("failover", path="/v1/embeddings", model="smart")
    assert "default/openai" in text
    assert "default/claude" not in text


def test_an_unknown_model_is_told() -> None:
    assert "answered 404" in explained("native", model="nope")


@pytest.mark.parametrize(
    ("host", "served"), [("a.example.com", True), ("c.example.com", False), ("a.example.com:8443", True)]
)
def test_the_host_decides(host: str, *, served: bool) -> None:
    assert ("default/r/rule/0" in explained("https_hostnames", host=host, model="gpt-5")) is served


def test_a_regular_expression_takes_the_whole_model() -> None:
    assert "answered 404" in explained("https_hostnames", host="a.example.com", model="my-gpt-5")
