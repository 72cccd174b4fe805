"""CORS of plain HTTPRoutes, by their own filter and by SecurityPolicies, in front of the real Envoy.

A policy says which pages may read what one route serves. It says nothing of the routes beside it.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    api_keys,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    target,
)
from support.providers import OPENAI, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.providers.received import Received
from support.stage import Stage

pytestmark = pytest.mark.envoy

ONE, OTHER, MODELS = "https://one.test", "https://other.test", "https://models.test"


class _Pages(OperationsApi):
    """A server that wants no credential."""

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        del received, key, allow_unknown
        return []


PLAIN, MIXED = "plain.test", "mixed.test"


def _http_route(name: str, hostname: str, path: str, **spec: Any) -> Document:
    served: Document = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}, **spec.pop("match", {})}],
        "backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "pages"}],
        **spec,
    }
    parents = [{"name": "gateway"}]
    everything = {"parentRefs": parents, "hostnames": [hostname], "rules": [served]}
    return document(f"{GATEWAY_API}/v1", "HTTPRoute", f"{name}-{hostname.partition('.')[0]}", everything)


def _cors(origin: str, **more: Any) -> Document:
    return {"type": "CORS", "cors": {"allowOrigins": [origin], "allowMethods": ["POST"], **more}}


def _policy(name: str, at: Document, origin: str) -> Document:
    cors = {"allowOrigins": [origin], "allowMethods": ["GET"], "maxAge": "60s"}
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, {**at, "cors": cors})


def _documents(stage: Stage) -> list[Document]:
    documents = [
        *gateway({"port": stage.port}),
        endpoint("pages", stage["pages"].port),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        route("models", [rule("gpt", ref("openai"))], hostnames=[MIXED]),
        _policy("models", target("AIGatewayRoute", "models"), MODELS),
    ]
    for host in (PLAIN, MIXED):
        short = host.partition(".")[0]
        filtered = _cors(ONE, allowHeaders=["x-a"], exposeHeaders=["x-b"], maxAge=7, allowCredentials=True)
        posted = {"match": {"method": "POST"}, "filters": [_cors("https://*.one.test")]}
        both = f"both-{short}"
        documents += [
            _http_route("filtered", host, "/filtered", filters=[filtered]),
            _http_route("posted", host, "/posted", **posted),
            _http_route("policed", host, "/policed"),
            _policy(f"policed-{short}", target("HTTPRoute", f"policed-{short}"), OTHER),
            _http_route("both", host, "/both", filters=[_cors(ONE)]),
            _policy(both, target("HTTPRoute", both), OTHER),
            _http_route("keyed", host, "/keyed", filters=[_cors(ONE)]),
            *api_keys(f"keyed-{short}", target("HTTPRoute", f"keyed-{short}"), {"ann": "hg-ann"}),
            _http_route("own", host, "/"),
        ]
    return documents


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    with Stage(pages=Provider(_Pages({}), key=""), openai=Provider(OPENAI, key="sk-openai")) as stage:
        yield stage.run(_documents(stage))


@pytest.fixture(params=[PLAIN, MIXED])
def stage(running: Stage, request: pytest.FixtureRequest) -> Iterator[tuple[Stage, str]]:
    running.forget()
    yield running, request.param
    running.check()


Hosted = tuple[Stage, str]


def _ask(hosted: Hosted, method: str, path: str, **headers: str) -> httpx.Response:
    stage, host = hosted
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return stage.http.request(method, f"{stage.url}{path}", headers={"host": host, **named})


def _preflight(hosted: Hosted, path: str, origin: str, method: str = "POST") -> httpx.Response:
    return _ask(hosted, "OPTIONS", path, origin=origin, access_control_request_method=method)


def _allowed(answer: httpx.Response) -> str | None:
    return answer.headers.get("access-control-allow-origin")


def test_the_filter_answers_preflights(stage: Hosted) -> None:
    answer = _preflight(stage, "/filtered", ONE)

    assert (answer.status_code, _allowed(answer)) == (200, ONE)
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "x-a"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "7"
    assert not stage[0]["pages"].requests


def test_the_filter_marks_answers(stage: Hosted) -> None:
    stage[0]["pages"].answer(Raw(body=b"{}"), Raw(body=b"{}"))
    answer = _ask(stage, "GET", "/filtered", origin=ONE)

    assert (_allowed(answer), answer.headers["access-control-expose-headers"]) == (ONE, "x-b")
    assert _allowed(_ask(stage, "GET", "/filtered", origin=OTHER)) is None


def test_a_rule_for_one_method_is_asked_about_with_options(stage: Hosted) -> None:
    """Which its match would not take."""
    assert _allowed(_preflight(stage, "/posted", "https://a.one.test")) == "https://a.one.test"


def test_each_route_has_its_own_policy(stage: Hosted) -> None:
    assert _allowed(_preflight(stage, "/policed", OTHER, "GET")) == OTHER
    for path, stranger in (("/policed", ONE), ("/filtered", OTHER), ("/posted", ONE)):
        answer = _preflight(stage, path, stranger)
        assert (path, answer.status_code, _allowed(answer)) == (path, 200, None)
    assert not stage[0]["pages"].requests


def test_the_filter_comes_before_the_policy(stage: Hosted) -> None:
    """As Envoy Gateway has it."""
    assert _allowed(_preflight(stage, "/both", ONE)) == ONE
    assert _allowed(_preflight(stage, "/both", OTHER)) is None


def test_the_filter_opens_no_route_that_asks_for_a_key(stage: Hosted) -> None:
    stage[0]["pages"].answer(Raw(body=b"{}"))
    assert _allowed(_preflight(stage, "/keyed", ONE)) == ONE
    refused = _ask(stage, "GET", "/keyed", origin=ONE)
    assert (refused.status_code, _allowed(refused)) == (401, ONE)
    let_in = _ask(stage, "GET", "/keyed", origin=ONE, authorization="Bearer hg-ann")
    assert (let_in.status_code, _allowed(let_in)) == (200, ONE)


def test_a_backend_without_a_policy_answers_preflights_itself(stage: Hosted) -> None:
    """What its server says of other pages is its own affair."""
    said = {"access-control-allow-origin": "https://own.test", "access-control-allow-methods": "PUT"}
    stage[0]["pages"].answer(Raw(body=b"{}", headers=said), Raw(body=b"{}"))

    answer = _preflight(stage, "/pages", ONE, "PUT")
    assert (answer.status_code, _allowed(answer)) == (200, "https://own.test")
    assert answer.headers["access-control-allow-methods"] == "PUT"
    for origin in (ONE, OTHER, MODELS):
        stage[0]["pages"].answer(Raw(body=b"{}"))
        assert _allowed(_ask(stage, "GET", "/pages", origin=origin)) is None


def test_models_beside_them_keep_their_policy(running: Stage) -> None:
    running.forget()
    hosted = (running, MIXED)
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/models"):
        assert _allowed(_preflight(hosted, path, MODELS)) == MODELS, path
        assert _allowed(_preflight(hosted, path, ONE)) is None, path
    chat = {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"host": MIXED, "origin": MODELS, "content-type": "application/json"}
    url = f"{running.url}/v1/chat/completions"
    answer = running.http.post(url, content=json.dumps(chat), headers=headers)
    assert (answer.status_code, _allowed(answer)) == (200, MODELS)
    assert not running["pages"].requests
    running.check()
