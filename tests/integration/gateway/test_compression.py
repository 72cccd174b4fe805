"""Answers that a policy has compressed, by the real Envoy: what is counted is what the provider said."""

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
from support.ledger import LedgerFile
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    target,
)
from support.providers import ANTHROPIC, OPENAI, Answer, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.providers.received import Received
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

LONG = "All of it, again and again. " * 200
PAGE = b"<p>again and again</p>" * 200


class _Pages(OperationsApi):
    """A server that wants no credential."""

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        del received, key, allow_unknown
        return []


def _policy(name: str, at: Document, *compressors: Document) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", name, {**at, "compressor": list(compressors)})


def _documents(stage: Stage) -> list[Document]:
    pages = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": "pages"}
    served = {"matches": [{"path": {"value": "/pages"}}], "backendRefs": [pages]}
    gzip_: Document = {"type": "Gzip", "gzip": {}}
    zstd: Document = {"type": "Zstd", "zstd": {}, "minContentLength": "1Ki"}
    return [
        *gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="k"),
        *backend("claude", stage["claude"].port, "Anthropic", key="k"),
        endpoint("pages", stage["pages"].port),
        route("models", [rule("gpt", ref("openai")), rule("claude", ref("claude"))]),
        route("others", [rule("as-it-is", ref("openai"))]),
        document(f"{GATEWAY_API}/v1", "HTTPRoute", "pages", {"parentRefs": [{"name": "gateway"}], "rules": [served]}),
        _policy("models", target("AIGatewayRoute", "models"), gzip_, zstd),
        _policy("pages", target("HTTPRoute", "pages"), zstd, gzip_),
    ]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, LedgerFile]]:
    ledger = LedgerFile(tmp_path_factory.mktemp("compression") / "usage.db")
    providers = {
        "openai": Provider(OPENAI, key="k"),
        "claude": Provider(ANTHROPIC, key="k"),
        "pages": Provider(_Pages({}), key=""),
    }
    with Stage(**providers) as stage:
        yield stage.run(_documents(stage), "--ledger", str(ledger.path)), ledger


@pytest.fixture
def stage(running: tuple[Stage, LedgerFile]) -> Iterator[Stage]:
    running[0].forget()
    yield running[0]
    running[0].check()


@pytest.fixture
def ledger(running: tuple[Stage, LedgerFile]) -> LedgerFile:
    return running[1]


def _chat(stage: Stage, model: str, accepts: str, **more: object) -> tuple[httpx.Response, bytes]:
    """The answer, and its bytes as they came."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    headers = {"accept-encoding": accepts, "content-type": "application/json"}
    url = f"{stage.url}/v1/chat/completions"
    with stage.http.stream("POST", url, content=json.dumps(body), headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_an_answer_is_compressed_and_counted(stage: Stage, ledger: LedgerFile, model: str) -> None:
    """Native and translated."""
    provider = stage["openai" if model == "gpt" else "claude"]
    provider.answer(Answer(text=LONG))
    known = len(ledger.rows())
    answer, received = _chat(stage, model, "gzip, deflate")

    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert len(received) < len(LONG) / 4
    assert json.loads(gzip.decompress(received))["choices"][0]["message"]["content"] == LONG
    assert provider.last.header("accept-encoding") == "identity"
    (row,) = wait_until(lambda: ledger.rows()[known:], "a row")
    said = json.loads(gzip.decompress(received))["usage"]
    assert row["total_tokens"] == said["total_tokens"] > 0


@pytest.mark.parametrize(("accepts", "served"), [("gzip, zstd", "gzip"), ("zstd, gzip;q=0.5", "zstd"), ("br", None)])
def test_a_client_gets_what_it_likes_best(stage: Stage, accepts: str, served: str | None) -> None:
    stage["openai"].answer(Answer(text=LONG))
    assert _chat(stage, "gpt", accepts)[0].headers.get("content-encoding") == served


def test_streams_and_other_routes_stay_as_they_are(stage: Stage) -> None:
    stage["openai"].answer(Answer(text=LONG))
    assert "content-encoding" not in _chat(stage, "gpt", "gzip", stream=True)[0].headers
    assert "content-encoding" not in _chat(stage, "as-it-is", "gzip")[0].headers


def test_a_page_is_compressed_by_the_gateway_alone(stage: Stage) -> None:
    stage["pages"].answer(Raw(body=PAGE, content_type="text/html"), Raw(body=PAGE[:500], content_type="text/html"))
    for accepts, served in (("gzip;q=0.1, zstd", "zstd"), ("zstd", None), ("gzip", "gzip"), ("identity", None)):
        with stage.http.stream("GET", f"{stage.url}/pages", headers={"accept-encoding": accepts}) as answer:
            assert answer.headers.get("content-encoding") == served, accepts
            assert b"".join(answer.iter_raw())
    for asked in stage["pages"].requests:
        assert asked.header("accept-encoding") in (None, "identity")
