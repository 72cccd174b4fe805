"""Which backend a request goes to: drawn by weight, or the same one for all that agree in something.

Conversations that a provider keeps (`previous_response_id`) live in one account, so a client has to find it again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support import manifests
from support.manifests import api_keys, backend, ref, route, rule, traffic
from support.providers import OPENAI, Answer, Failure, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

CLIENTS = {f"client-{number}": f"sk-client-{number}" for number in range(8)}
ACCOUNTS = ("first", "second")


def _hashed(name: str, **hashed: Any) -> manifests.Document:
    return traffic(name, name, loadBalancer={"type": "ConsistentHash", "consistentHash": hashed})


def _documents(stage: Stage) -> list[manifests.Document]:
    documents = [*manifests.gateway({"port": stage.port})]
    for name in (*ACCOUNTS, "last"):
        documents += backend(name, stage[name].port, key="sk-openai")
    accounts = [ref(name) for name in ACCOUNTS]
    for name in ("drawn", "user", "client", "all", "query", "cookie", "address"):
        documents.append(route(name, [rule(name, *accounts, ref("last", priority=1))]))
    documents.append(route("kept", [{"backendRefs": accounts}]))
    documents.append(_hashed("kept", type="Header", header={"name": "X-User"}))
    documents.append(_hashed("user", type="Header", header={"name": "X-User"}))
    documents.append(_hashed("client", type="Header", header={"name": "x-client"}))
    documents += [
        _hashed("all", type="Headers", headers=[{"name": "x-user"}, {"name": "x-team"}]),
        _hashed("query", type="QueryParams", queryParams=[{"name": "tenant"}]),
        _hashed("cookie", type="Cookie", cookie={"name": "account"}),
        _hashed("address", type="SourceIP"),
    ]
    clients = api_keys(
        "clients", manifests.target("AIGatewayRoute", "client"), CLIENTS, forwardClientIDHeader="x-client"
    )
    return [*documents, *clients]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {name: Provider(OPENAI, key="sk-openai") for name in (*ACCOUNTS, "last")}
    with Stage(**providers) as stage:
        yield stage.run(_documents(stage))


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


def asked(stage: Stage) -> Counter[str]:
    return Counter({name: len(stage[name].requests) for name in stage.providers if stage[name].requests})


def ask(stage: Stage, model: str, headers: Mapping[str, str] = {}, query: str = "") -> str:
    """Which account answered."""
    before = asked(stage)
    body = {"model": model, "input": "Hello!"}
    answer = stage.http.post(f"{stage.url}/v1/responses{query}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    (name,) = asked(stage) - before
    return name


def test_requests_that_agree_go_to_one_backend(stage: Stage) -> None:
    found = {user: {ask(stage, "user", {"x-user": user}) for _ in range(4)} for user in map(str, range(12))}
    assert all(len(accounts) == 1 for accounts in found.values()), found
    assert {account for accounts in found.values() for account in accounts} == set(ACCOUNTS)


@pytest.mark.parametrize("model", ["drawn", "user"])
def test_the_others_are_drawn_by_weight(stage: Stage, model: str) -> None:
    assert {ask(stage, model) for _ in range(40)} == set(ACCOUNTS)


def test_a_client_is_known_by_its_key(stage: Stage) -> None:
    found = {
        name: {ask(stage, "client", {"authorization": f"Bearer {key}"}) for _ in range(4)}
        for name, key in CLIENTS.items()
    }
    assert all(len(accounts) == 1 for accounts in found.values()), found
    assert {account for accounts in found.values() for account in accounts} == set(ACCOUNTS)


def test_who_fails_is_followed_by_the_next_priority(stage: Stage) -> None:
    account = ask(stage, "user", {"x-user": "fails"})
    stage[account].answer(Failure(503))
    assert stage.post("/v1/responses", {"model": "user", "input": "Hello!"}, x_user="fails").status_code == 200
    assert len(stage["last"].requests) == 1
    stage[account].answer(Answer())
    assert ask(stage, "user", {"x-user": "fails"}) == account


def test_what_requests_agree_in_may_be_several_headers(stage: Stage) -> None:
    who = [{"x-user": user, "x-team": team} for user in "abcd" for team in "xyz"]
    found = {tuple(headers.values()): {ask(stage, "all", headers) for _ in range(3)} for headers in who}
    assert all(len(accounts) == 1 for accounts in found.values()), found
    assert {account for accounts in found.values() for account in accounts} == set(ACCOUNTS)


def test_or_the_address(stage: Stage) -> None:
    assert len({ask(stage, "address") for _ in range(12)}) == 1


def test_or_a_query_or_a_cookie(stage: Stage) -> None:
    by_query = {each: {ask(stage, "query", query=f"?tenant={each}") for _ in range(3)} for each in "abcdefgh"}
    by_cookie = {each: {ask(stage, "cookie", {"cookie": f"account={each}"}) for _ in range(3)} for each in "abcdefgh"}
    for found in (by_query, by_cookie):
        assert all(len(accounts) == 1 for accounts in found.values()), found
        assert {account for accounts in found.values() for account in accounts} == set(ACCOUNTS)


def test_what_an_account_keeps_is_found_there(stage: Stage) -> None:
    """By a rule without a model that has the same backends."""
    found = {user: ask(stage, "user", {"x-user": user}) for user in map(str, range(6))}
    assert set(found.values()) == set(ACCOUNTS)
    for user, account in found.items():
        before = asked(stage)
        stage.http.get(f"{stage.url}/v1/responses/resp_1", headers={"x-user": user})
        assert asked(stage) - before == Counter([account])
    stage.forget()  # this provider keeps none
