"""Live changes: in force within a second, no request fails; what is broken keeps its last good form and is told."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from support import manifests
from support.manifests import Document, api_keys, backend, limits, ref, route, rule, target, token_limit
from support.ports import LOOPBACK, free_port
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Provider
from support.stage import Stage
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

LIVE_SECONDS_MAX = 1.0
"""From a saved file to Envoy serving it."""
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


def documents(
    stage: Stage, rules: list[Document] | None = None, *more: Document, key: str = "sk-one"
) -> list[Document]:
    """A gateway with the given rules; `old` goes to the first provider if there are none."""
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("one", stage["one"].port, key=key),
        *backend("two", stage["two"].port, key="sk-two"),
        *backend("claude", stage["claude"].port, "Anthropic", key="sk-claude"),
        route("models", rules or [rule("old", ref("one"))]),
        *more,
    ]


@pytest.fixture(scope="module")
def reloaded_stage() -> Iterator[Stage]:
    providers = {
        "one": Provider(OPENAI, key="sk-one"),
        "two": Provider(OPENAI, key="sk-two"),
        "claude": Provider(ANTHROPIC, key="sk-claude"),
    }
    with Stage(**providers) as stage:
        yield stage.run(documents(stage))


@pytest.fixture
def stage(reloaded_stage: Stage) -> Iterator[Stage]:
    save(reloaded_stage, documents(reloaded_stage))
    wait_until(lambda: _serves(reloaded_stage), "the first configuration")
    reloaded_stage.forget()
    yield reloaded_stage
    reloaded_stage.check()


def _serves(stage: Stage) -> bool:
    """On a connection of its own: one of before is served as before."""
    try:
        body = {"model": "old", "messages": MESSAGES}
        return httpx.post(f"{stage.url}/v1/chat/completions", json=body).status_code == 200
    except httpx.ConnectError:  # a test has moved the port
        return False


def save(stage: Stage, found: list[Document]) -> None:
    stage.gateway.write(manifests.text(found))


def live_seconds(stage: Stage, found: list[Document], live: Callable[[], bool]) -> float:
    """From saving the documents until `live` sees them at work."""
    start = time.monotonic()
    save(stage, found)
    wait_until(live, "the change to be live")
    return time.monotonic() - start


class Clients:
    """Threads that call a model without a pause until they are told to stop; `failures` is what went wrong."""

    def __init__(self, stage: Stage, count: int, **body: Any) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._url = f"{stage.url}/v1/chat/completions"
        self._body = {"model": "old", "messages": MESSAGES, **body}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, json=self._body)
                    if answer.status_code != 200:
                        self.failures.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.calls += 1

    def wait_calls(self, count: int) -> None:
        wanted = self.calls + count
        wait_until(lambda: self.calls >= wanted, f"{count} more calls")

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)


def test_a_new_model_is_live_within_a_second(stage: Stage) -> None:
    changed = documents(stage, [rule("old", ref("one")), rule("new", ref("two"))])
    assert live_seconds(stage, changed, lambda: stage.chat("new").status_code == 200) < LIVE_SECONDS_MAX
    assert stage["two"].last.model == "new"


def test_a_removed_model_is_gone_within_a_second(stage: Stage) -> None:
    changed = documents(stage, [rule("other", ref("one"))])
    assert live_seconds(stage, changed, lambda: stage.chat("old").status_code == 404) < LIVE_SECONDS_MAX


def test_a_changed_key_is_used_within_a_second(stage: Stage) -> None:
    stage["one"].key = "sk-rotated"
    try:
        changed = documents(stage, key="sk-rotated")
        assert live_seconds(stage, changed, lambda: stage.chat("old").status_code == 200) < LIVE_SECONDS_MAX
    finally:
        stage["one"].key = "sk-one"
        for each in stage["one"].requests:  # refused with the old key until the new one was there
            each.problems.clear()


def test_client_keys_come_and_go(stage: Stage) -> None:
    keys = api_keys("clients", target("Gateway", "gateway"), {"alice": "alice-key"})
    assert live_seconds(stage, documents(stage, None, *keys), lambda: stage.chat("old").status_code == 401) < 2
    body = {"model": "old", "messages": MESSAGES}
    assert stage.post("/v1/chat/completions", body, authorization="Bearer alice-key").status_code == 200
    more = api_keys("clients", target("Gateway", "gateway"), {"alice": "alice-key", "bob": "bob-key"})
    seconds = live_seconds(
        stage,
        documents(stage, None, *more),
        lambda: stage.post("/v1/chat/completions", body, authorization="Bearer bob-key").status_code == 200,
    )
    assert seconds < LIVE_SECONDS_MAX


def test_a_policy_that_broke_closes_all_models_until_it_is_mended(stage: Stage) -> None:
    at = target("Gateway", "gateway")
    broken = api_keys("clients", at, {"alice": "same", "bob": "same"})
    assert live_seconds(stage, documents(stage, None, *broken), lambda: stage.chat("old").status_code >= 400) < 2
    mended = api_keys("clients", at, {"alice": "alice-key", "bob": "bob-key"})

    def opened() -> bool:  # for bob alone: a worker of Envoy's may still be closed where another is not
        statuses = [stage.chat("old").status_code]
        statuses.append(
            stage.post("/v1/chat/completions", {"model": "old", "messages": MESSAGES}, x_api_key="bob-key").status_code
        )
        return statuses == [401, 200]

    assert live_seconds(stage, documents(stage, None, *mended), opened) < 2
    assert "envoy_refused" not in stage.gateway.output


def test_limits_come_and_go(stage: Stage) -> None:
    limit: Document = {"limit": {"requests": 0, "unit": "Day"}}
    limited = documents(stage, None, limits("limits", "models", limit))
    assert live_seconds(stage, limited, lambda: stage.chat("old").status_code == 429) < 2
    assert live_seconds(stage, documents(stage), lambda: stage.chat("old").status_code == 200) < 2


def test_requests_do_not_fail_while_everything_changes(stage: Stage) -> None:
    rules = [
        [rule("old", ref("two"))],
        [rule("old", ref("claude")), rule("new", ref("two"))],
        [rule("old", ref("one"), ref("two", priority=1))],
        [rule("old", ref("one", modelNameOverride="renamed"))],
    ]
    with Clients(stage, 4) as clients:
        for number, found in enumerate(rules):
            marker = rule(f"marker-{number}", ref("one"))
            live_seconds(
                stage, documents(stage, [*found, marker]), lambda n=number: stage.chat(f"marker-{n}").status_code == 200
            )
            clients.wait_calls(20)
    assert not clients.failures
    assert clients.calls > 80
    assert stage["two"].requests
    assert stage["claude"].requests


def test_requests_do_not_fail_while_keys_and_limits_come(stage: Stage) -> None:
    """These change filters, and so drain listeners."""
    priced = manifests.costs(total="TotalToken")
    charged = route("priced", [rule("marker", ref("one"))], **priced)
    with Clients(stage, 4) as clients:
        for more in ([charged, limits("limits", "priced", token_limit("total", 1000))], []):
            here = 200 if more else 404
            live_seconds(
                stage, documents(stage, None, *more), lambda here=here: stage.chat("marker").status_code == here
            )
            clients.wait_calls(40)
    assert not clients.failures


@pytest.mark.parametrize("model", ["old", "claude"])
def test_a_stream_in_flight_ends_well(stage: Stage, model: str) -> None:
    both = [rule("old", ref("one")), rule("claude", ref("claude"))]
    live_seconds(stage, documents(stage, both), lambda: stage.chat("claude").status_code == 200)
    slow = Answer(text="word " * 40, pieces=40, delivery=Delivery(pause_seconds=0.05))
    stage["one"].answer(slow)
    stage["claude"].answer(slow)
    stream = stage.openai().chat.completions.create(model=model, messages=MESSAGES, stream=True)
    words = [next(iter(stream)).choices[0].delta.content or ""]
    keys = api_keys("clients", target("Gateway", "gateway"), {"alice": "alice-key"})
    changed = documents(stage, [rule("other", ref("two"))], *keys)
    live_seconds(stage, changed, lambda: stage.chat("other").status_code == 401)
    words += [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(words) == "word " * 40


def test_a_moved_port_is_served_and_the_old_one_is_not(stage: Stage) -> None:
    port = free_port()
    changed = documents(stage)
    changed[:2] = manifests.gateway({"port": port})

    def moved() -> bool:
        try:
            return httpx.get(f"http://{LOOPBACK}:{port}/v1/models").status_code == 200
        except httpx.ConnectError:
            return False

    assert live_seconds(stage, changed, moved) < LIVE_SECONDS_MAX

    def closed() -> bool:
        try:
            httpx.get(f"http://{LOOPBACK}:{stage.port}/v1/models")
        except httpx.TransportError:
            return True
        return False

    wait_until(closed, "the old port to be closed")


def test_a_port_of_another_gateway_is_left_to_it(stage: Stage) -> None:
    """Envoy would share it (SO_REUSEPORT), and each would get a part of the other's clients."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((LOOPBACK, port := free_port()))
        other.listen(64)
        changed = documents(stage)
        changed[:2] = manifests.gateway({"port": stage.port}, {"name": "second", "port": port})
        stage.gateway.write(manifests.text(changed))
        stage.gateway.wait_output(rf"cannot listen on {LOOPBACK}:{port}: the port is in use")
        marked = [*changed, route("marker", [rule("marker", ref("two"))])]
        stage.gateway.write(manifests.text(marked))
        wait_until(lambda: stage.chat("marker").status_code == 200, "the change to be served at the other port")
        other.settimeout(BUSY_SECONDS)
        for _ in range(20):
            with socket.create_connection((LOOPBACK, port)) as client, other.accept()[0] as taken:
                assert taken.getpeername() == client.getsockname()


# --- broken changes


def test_a_broken_rule_keeps_the_last_good_of_its_object(stage: Stage) -> None:
    """The route that is broken stays as it was; what else changed in the same save is live."""
    broken = documents(stage, [rule("old", ref("one", weight=-1))])
    broken.append(route("more", [rule("more", ref("two"))]))
    assert live_seconds(stage, broken, lambda: stage.chat("more").status_code == 200) < LIVE_SECONDS_MAX
    assert stage.chat("old").status_code == 200
    told = stage.gateway.wait_output(r"gateway\.yaml:(\d+): error: AIGatewayRoute default/models: (\S+): (.*)")
    line = stage.gateway.config_path.joinpath("gateway.yaml").read_text().splitlines()[int(told[1]) - 1]
    assert "weight: -1" in line
    assert told[2] == "spec.rules[0].backendRefs[0].weight"


def test_text_that_is_no_yaml_keeps_the_rest(stage: Stage) -> None:
    text = manifests.text([*documents(stage), route("more", [rule("new", ref("two"))])])
    broken = text.replace("kind: AIGatewayRoute\nmetadata:\n  name: models", "kind: AIGatewayRoute\nmetadata: [}", 1)
    assert broken != text
    stage.gateway.write(broken)
    wait_until(lambda: stage.chat("new").status_code == 200, "the rest of the file")
    told = stage.gateway.wait_output(r"gateway\.yaml:(\d+):\d+: error: (.*)")
    assert "metadata: [}" in broken.splitlines()[int(told[1]) - 1]
    assert stage.chat("old").status_code == 200


def test_a_route_that_came_to_refer_to_nothing_stays_as_it_was(stage: Stage) -> None:
    broken = documents(stage, [rule("other", ref("one")), rule("new", ref("nobody"))])
    save(stage, broken)
    told = stage.gateway.wait_output(r"error: AIGatewayRoute default/models: (\S+): there is no .*nobody(.*)")
    assert told[1].startswith("spec.rules[1].backendRefs[0]")
    assert "one" in told[2]
    assert [stage.chat(model).status_code for model in ("old", "other", "new")] == [200, 404, 404]


def test_a_new_route_that_refers_to_nothing_costs_its_rule(stage: Stage) -> None:
    added = route("more", [rule("good", ref("one")), rule("new", ref("nobody"))])
    live_seconds(stage, [*documents(stage), added], lambda: stage.chat("good").status_code == 200)
    assert [stage.chat(model).status_code for model in ("old", "new")] == [200, 500]


def test_a_missing_secret_serves_nobody_without_a_key(stage: Stage) -> None:
    """A backend whose credential cannot be had must not be called without it."""
    found = [each for each in documents(stage) if not (each["kind"] == "Secret" and each["metadata"]["name"] == "one")]
    found.append(route("more", [rule("new", ref("two"))]))
    live_seconds(stage, found, lambda: stage.chat("new").status_code == 200)
    stage.gateway.wait_output("there is no Secret default/one")
    before = len(stage["one"].requests)
    assert stage.chat("old").status_code >= 400
    assert len(stage["one"].requests) == before


def test_a_deleted_file_takes_its_objects_along(stage: Stage) -> None:
    stage.gateway.write(manifests.text([route("more", [rule("new", ref("two"))])]), "more.yaml")
    wait_until(lambda: stage.chat("new").status_code == 200, "the second file")
    (stage.gateway.config_path / "more.yaml").unlink()
    wait_until(lambda: stage.chat("new").status_code == 404, "the file to be forgotten")
    assert stage.chat("old").status_code == 200
