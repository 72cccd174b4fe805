"""Requests of plain HTTPRoutes that another backend is sent as well, by the real Envoy."""

from collections.abc import Iterator

import httpx
import pytest
from support.manifests import ENVOY_GATEWAY, GATEWAY_API, Document, document, endpoint, gateway, secret, target
from support.ports import free_port
from support.providers import Provider, Raw
from support.providers.operations_api import OperationsApi
from support.providers.received import Received
from support.stage import Stage

pytestmark = pytest.mark.envoy


class _Pages(OperationsApi):
    """A server that wants no credential."""

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        del received, key, allow_unknown
        return []


def _backend(name: str) -> Document:
    return {"group": ENVOY_GATEWAY, "kind": "Backend", "name": name}


def _mirror(name: str, **share: object) -> Document:
    return {"type": "RequestMirror", "requestMirror": {"backendRef": _backend(name), **share}}


def _rule(path: str, *filters: Document) -> Document:
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "filters": list(filters),
        "backendRefs": [_backend("pages")],
    }


def _documents(stage: Stage, dead: int) -> list[Document]:
    rules = [
        _rule("/all", _mirror("copy"), _mirror("other")),
        _rule("/none", _mirror("copy", percent=0)),
        _rule("/half", _mirror("copy", fraction={"numerator": 1, "denominator": 2})),
        _rule("/dead", _mirror("dead")),
        _rule("/nowhere", _mirror("nowhere")),
    ]
    users = "ann:{SHA}VsCkEnvaKwzebP57PQu/eVYZ1u8="  # of "ann's"
    limit = {"global": {"rules": [{"limit": {"requests": 2, "unit": "Hour"}}]}}
    limited = {"type": "Global", **limit}
    guarded = {"parentRefs": [{"name": "gateway"}], "rules": [_rule("/guarded", _mirror("copy"))]}
    return [
        *gateway({"port": stage.port}),
        *(endpoint(name, stage[name].port) for name in ("pages", "copy", "other")),
        endpoint("dead", dead),
        document(f"{GATEWAY_API}/v1", "HTTPRoute", "plain", {"parentRefs": [{"name": "gateway"}], "rules": rules}),
        document(f"{GATEWAY_API}/v1", "HTTPRoute", "guarded", guarded),
        secret("users", **{".htpasswd": users}),
        document(
            f"{ENVOY_GATEWAY}/v1alpha1",
            "SecurityPolicy",
            "guarded",
            {**target("HTTPRoute", "guarded"), "basicAuth": {"users": {"name": "users"}}},
        ),
        document(
            f"{ENVOY_GATEWAY}/v1alpha1",
            "BackendTrafficPolicy",
            "guarded",
            {**target("HTTPRoute", "guarded"), "rateLimit": limited},
        ),
    ]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    names = ("pages", "copy", "other")
    with Stage(**{name: Provider(_Pages({}), key="") for name in names}) as stage:
        yield stage.run(_documents(stage, free_port()))


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    for name in ("pages", "copy", "other"):
        running[name].answer(Raw(body=b'{"from":"%b"}' % name.encode()))
    yield running
    running.check()


def _ask(stage: Stage, path: str, **headers: str) -> httpx.Response:
    headers = {"content-type": "application/json", **headers}
    return stage.http.post(f"{stage.url}{path}", content=b'{"a":"b"}', headers=headers)


def test_every_mirror_is_sent_what_the_backend_is(stage: Stage) -> None:
    answer = _ask(stage, "/all/there?x=1", **{"x-mine": "1"})

    assert answer.json() == {"from": "pages"}
    (first,) = stage["pages"].requests
    for name in ("copy", "other"):
        (sent,) = stage[name].wait_for_requests(1)
        assert (sent.method, sent.path, sent.query, sent.body) == ("POST", "/all/there", "x=1", first.body)
        assert sent.header("x-mine") == "1"


def test_a_share_is_mirrored(stage: Stage) -> None:
    for _ in range(200):
        assert _ask(stage, "/half").status_code == 200
        assert _ask(stage, "/none").status_code == 200
    assert _ask(stage, "/all").status_code == 200
    stage["other"].wait_for_requests(1)

    half = [each for each in stage["copy"].requests if each.path == "/half"]
    assert 60 <= len(half) <= 140
    assert not [each for each in stage["copy"].requests if each.path == "/none"]


@pytest.mark.parametrize("path", ["/dead", "/nowhere"])
def test_a_mirror_that_is_not_there_costs_no_answer(stage: Stage, path: str) -> None:
    assert _ask(stage, path).json() == {"from": "pages"}


def test_a_mirror_that_fails_costs_no_answer(stage: Stage) -> None:
    stage["copy"].answer(Raw(status=503))
    assert _ask(stage, "/all").json() == {"from": "pages"}


def test_no_mirror_sees_a_password_and_none_counts_twice(stage: Stage) -> None:
    statuses = [
        stage.http.post(f"{stage.url}/guarded", content=b"{}", auth=("ann", "ann's")).status_code for _ in range(3)
    ]
    assert statuses == [200, 200, 429]
    for sent in stage["copy"].wait_for_requests(2):
        assert sent.header("authorization") is None
    assert len(stage["copy"].requests) == 2
