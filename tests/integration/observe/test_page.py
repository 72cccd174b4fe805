"""The page of `headgate run --observe` in a real browser: what it shows, as it happens, and what it never does."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from headgate.contract.headers import MODEL
from support import manifests
from support.chromium import Chromium, Page
from support.manifests import api_keys, backend, document, ref, route, rule, target, traffic
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

PROMPT = "the-prompt-that-nobody-else-may-read"
KEYS = {"alice": "key-of-alice-1", "bob": "key-of-bob-22"}
ANSWERED = "the-answer-that-nobody-else-may-read"
USAGE = Usage(input=120, output=80)
AGAIN = {
    "retry": {
        "numRetries": 1,
        "retryOn": {"triggers": ["retriable-status-codes"], "httpStatusCodes": [503]},
    }
}


def _documents(stage: Stage) -> list[manifests.Document]:
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("spare", stage["spare"].port, key="sk-spare"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        *api_keys("clients", target("Gateway", "gateway"), KEYS),
        route(
            "models",
            [
                rule("gpt", ref("openai", priority=0), ref("spare", priority=1)),
                rule("claude", ref("anthropic")),
                rule("limited", ref("spare")),
            ],
        ),
        traffic("again", "models", **AGAIN),
        document(
            "headgate.dev/v1alpha1",
            "LimitPolicy",
            "few",
            {
                **target("AIGatewayRoute", "models"),
                "rules": [
                    {
                        "name": "few",
                        "unit": "requests",
                        "amount": 10,
                        "window": "day",
                        "per": ["client"],
                        "clientSelectors": [{"headers": [{"name": MODEL, "value": "limited"}]}],
                    },
                    {"name": "ever", "unit": "tokens", "amount": 1_000_000, "window": "lifetime"},
                ],
            },
        ),
        route("wrong", [rule("nowhere", ref("missing"))]),
    ]


def _stage() -> Stage:
    return Stage(
        openai=Provider(OPENAI, key="sk-openai"),
        spare=Provider(OPENAI, key="sk-spare"),
        anthropic=Provider(ANTHROPIC, key="sk-anthropic"),
    )


@pytest.fixture(scope="module")
def observed() -> Iterator[Stage]:
    with _stage() as stage:
        yield stage.run(_documents(stage), "--observe")


@pytest.fixture
def stage(observed: Stage) -> Iterator[Stage]:
    yield observed
    observed.check()


def address_of(stage: Stage) -> str:
    return stage.gateway.wait_output(r"look +(http://\S+)").group(1)


@pytest.fixture(scope="module")
def address(observed: Stage) -> str:
    return address_of(observed)


@pytest.fixture
def page(browser: Chromium, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        yield page


@contextmanager
def opened(browser: Chromium, address: str) -> Generator[Page]:
    """The page, connected. At the end it must have asked nobody else for anything and complained of nothing."""
    page = browser.open(address)
    page.wait("document.getElementById('state-text').textContent.startsWith('serving')")
    page.wait("document.querySelectorAll('.tile').length === 6")
    yield page
    browser.listen(0.1)
    page.close()
    assert not [url for url in page.requested if not url.startswith(address)]
    assert page.complaints == []


def ask(stage: Stage, model: str, who: str = "alice", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], **more}
    return stage.post("/v1/chat/completions", body, authorization=f"Bearer {KEYS[who]}")


def rows(page: Page) -> list[str]:
    """What can be read of each request, the newest first."""
    return page.evaluate("[...document.querySelectorAll('#list summary')].map(each => each.innerText)")


def wait_row(page: Page, *words: str) -> None:
    found = " && ".join(f"each.innerText.includes({json.dumps(word)})" for word in words)
    page.wait(f"[...document.querySelectorAll('#list summary')].some(each => {found})")


def test_a_fresh_page_says_what_to_try_and_shows_it(browser: Chromium, shoot: Callable[[Page, str], None]) -> None:
    with _stage() as stage:
        stage.run(_documents(stage), "--observe")
        with opened(browser, address_of(stage)) as page:
            assert "Waiting for the first request" in page.text("#empty")
            command = page.text("#curl")
            assert stage.url in command
            assert "gpt" in command
            shoot(page, "empty")
            stage["openai"].answer(Answer(text=ANSWERED, usage=USAGE))
            environment = {**os.environ, "KEY": KEYS["alice"]}
            subprocess.run(["bash", "-c", command], env=environment, check=True, capture_output=True)
            wait_row(page, "gpt", "alice", "openai", "native", "120 → 80", "200")
            assert page.evaluate("document.getElementById('empty').hidden")
            assert "1 request, 200 tokens" in page.text("#foot")
            assert page.evaluate("document.querySelectorAll('#chart-tokens rect.fill-first').length") == 1
        stage.check()


def test_a_stream_appears_by_itself_and_tells_its_lane(stage: Stage, page: Page) -> None:
    stage["anthropic"].answer(Answer(text=ANSWERED, usage=USAGE))
    assert ask(stage, "claude", stream=True).status_code == 200
    wait_row(page, "claude", "anthropic", "extproc", "200")
    page.evaluate("document.querySelector('#list summary').focus()")
    page.press("Enter")
    page.wait("document.querySelector('#list details').open")
    told = page.wait("document.querySelector('#list details .detail')?.innerText")
    assert "The processor translated it." in told
    assert "extproc: openai-chat is translated to anthropic-messages and back" in told
    assert "by the provider" in told
    assert "/v1/chat/completions" in told


def test_a_failing_backend_appears(stage: Stage, page: Page, shoot: Callable[[Page, str], None]) -> None:
    for _ in range(3):
        stage["openai"].answer(Failure(503))
        stage["spare"].answer(Answer(text=ANSWERED, usage=USAGE))
        assert ask(stage, "gpt").status_code == 200
    wait_row(page, "gpt", "spare", "2 attempts", "200")
    page.wait("document.querySelector('[data-backend=\"default/openai\"]')?.innerText.includes('Failing now')")
    told = page.text('[data-backend="default/openai"]')
    assert "3 failed over to another" in told
    assert "3 × upstream failed" in told
    assert page.text("#badge-backends") == "1"
    page.evaluate("document.querySelector('[data-filter=failovers]').click()")
    assert len(rows(page)) == 3
    page.evaluate("document.querySelector('#list summary').click()")
    detail = page.wait("document.querySelector('#list details .detail')?.innerText")
    assert re.search(r"openai: 503 upstream failed after .*\n.*\n.*\n?.*spare: 200 after", detail), detail
    page.evaluate("document.querySelector('[data-filter=all]').click()")
    shoot(page, "failing")


def test_a_limit_that_is_nearly_used_and_then_used_up(
    stage: Stage, page: Page, shoot: Callable[[Page, str], None]
) -> None:
    limit = '[data-limit="LimitPolicy/default/few/few"]'
    for _ in range(8):
        stage["spare"].answer(Answer(text=ANSWERED, usage=USAGE))
        assert ask(stage, "limited", "bob").status_code == 200
    page.wait(f"document.querySelector({json.dumps(limit)})?.innerText.includes('nearly used, 2 requests left')")
    assert "bob" in page.text(limit)
    lifetime = page.text('[data-limit="LimitPolicy/default/few/ever"]')
    assert "few/ever" in lifetime
    assert lifetime.endswith("of 1M tokens in all, for ever · LimitPolicy"), lifetime
    assert page.text("#badge-limits") == "1"
    shoot(page, "limit-nearing")
    statuses: list[int] = []
    for _ in range(3):
        stage["spare"].answer(Answer(text=ANSWERED, usage=USAGE))
        statuses.append(ask(stage, "limited", "bob").status_code)
    assert statuses == [200, 200, 429]
    page.wait(f"document.querySelector({json.dumps(limit)})?.innerText.includes('used up')")
    wait_row(page, "limited", "the gateway", "429")


def test_what_is_wrong_with_the_configuration_is_said(page: Page) -> None:
    told = page.text("#configuration")
    assert "there is no AIServiceBackend default/missing" in told
    assert "AIGatewayRoute default/wrong" in told
    assert page.text("#badge-configuration") == "1"
    page.evaluate("document.querySelector('[data-key=\"AIGatewayRoute default/wrong\"] summary').click()")
    assert "not ResolvedRefs" in page.text("#configuration")


def test_what_clients_send_is_text(stage: Stage, page: Page) -> None:
    name = "<img src=x onerror=alert(1)><b>gpt"
    assert ask(stage, name).status_code == 404
    wait_row(page, name, "404")
    assert page.evaluate("document.querySelectorAll('#list img, #list b').length") == 0


def test_no_secret_and_no_prompt_is_on_it(stage: Stage, page: Page, address: str) -> None:
    stage["openai"].answer(Answer(text=ANSWERED, usage=USAGE))
    assert ask(stage, "gpt").status_code == 200
    stage.post(f"/v1/chat/completions?key={KEYS['bob']}", {"model": "none", "messages": []}, x_api_key=KEYS["alice"])
    wait_row(page, "none", "404")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.wait("document.querySelectorAll('#list .detail').length > 1")
    shown = page.evaluate("document.documentElement.outerHTML")
    with httpx.stream("GET", f"{address}events", timeout=10) as events:
        sent = ""
        for text in events.iter_text():
            sent += text
            if "event: seen" in sent and sent.endswith("\n\n"):
                break
    for secret in (PROMPT, ANSWERED, "Hello!", "sk-openai", "sk-spare", "sk-anthropic", *KEYS.values()):
        # the line to try is ours, and says hello
        assert secret not in shown.replace(page.evaluate("document.getElementById('curl').innerHTML"), "")
        assert secret == "Hello!" or secret not in sent


TOO_WIDE = """
document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
  [...document.querySelectorAll('body *')].filter((each) => each.getBoundingClientRect().right > screen.width + 1)
    .map((each) => `${each.tagName} ${each.id} ${each.getAttribute('class')}`)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280, 1920])
def test_it_fits(page: Page, width: int, scheme: str) -> None:
    page.view(width, 800, scheme=scheme, phone=width < 500)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate(TOO_WIDE) == []
    page.evaluate(
        "document.querySelectorAll('.badge').forEach(each => { each.hidden = false; each.textContent = '12'; })"
    )
    assert page.evaluate("(jump => jump.scrollWidth <= jump.clientWidth)(document.querySelector('.jump'))")


TALLEST = """
Math.max(...[...document.querySelectorAll('#list summary, .limit')].map((each) => each.getBoundingClientRect().height))
"""


NAMES = {
    "a script": "<script>window.owned=1</script>",
    "an image": "<img src=x onerror=window.owned=1>",
    "quotes": "\"'`--><svg onload=window.owned=1>\\",
    "a template": "${window.owned=1}{{7*7}}",
    "right to left": "\u202egnp.exe \u2066ab\u2067\u05d0\u05d1",
    "10 kB": "w" * 10_240,
    "10 kB of marks": "a\u0301\u0302\u0303" * 1_700,
    "a prototype": "__proto__",
    "words of the page": "hasOwnProperty constructor",
}
"""What clients, providers and operators may call things."""


def test_names_are_text_and_leave_the_page_usable(browser: Chromium, shoot: Callable[[Page, str], None]) -> None:
    with Stage(openai=Provider(OPENAI, key="sk-openai")) as stage:
        named = {str(number): name for number, name in enumerate(NAMES.values()) if len(name) < 250}
        counted = {"name": "team", "unit": "requests", "amount": 2, "window": "day", "per": ["header:x-team", "model"]}
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-openai"),
            *api_keys("clients", target("Gateway", "gateway"), {name: f"key-{n}" for n, name in named.items()}),
            route("models", [rule(name, ref("openai")) for name in (*named.values(), "gpt")]),
            document(
                "headgate.dev/v1alpha1",
                "LimitPolicy",
                "few",
                {**target("AIGatewayRoute", "models"), "rules": [counted]},
            ),
        ]
        stage.run(documents, "--observe")
        with opened(browser, address_of(stage)) as page:
            for number, name in enumerate(NAMES.values()):
                stage["openai"].answer(Answer(text=ANSWERED, usage=USAGE, model=name, headers={"x-request-id": "r"}))
                key = f"key-{number if str(number) in named else 0}".encode()
                headers = {
                    b"authorization": b"Bearer " + key,
                    b"x-team": name.encode()[:8000],
                    b"content-type": b"application/json",
                }
                for model in (name, "gpt"):
                    body = json.dumps({"model": model, "messages": [{"role": "user", "content": PROMPT}]})
                    stage.http.post(f"{stage.url}/v1/chat/completions", content=body, headers=headers)
            page.wait(f"document.querySelectorAll('#list li').length >= {len(NAMES)}")
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            page.wait("document.querySelectorAll('#list .detail').length >= 5")
            assert page.evaluate("window.owned === undefined")
            assert (
                page.evaluate("document.querySelectorAll('#list img, #list script, #limits img, main script').length")
                == 0
            )
            assert page.evaluate("document.querySelectorAll('#limits [data-limit]').length") > 3
            for width in (1280, 390):
                page.view(width, 900, scheme="light", phone=width < 500)
                assert page.evaluate(TOO_WIDE) == []
                assert page.evaluate(TALLEST) < 400
            page.view()
            shoot(page, "names")


CONTRAST = """
(() => {
  const at = (name) => {
    const probe = document.createElement('i');
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
      .map((each) => (each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    probe.remove();
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const pairs = [];
  for (const [front, backs] of Object.entries({
    text: ['page', 'card', 'code', 'accent-soft', 'warn-soft', 'bad-soft'], soft: ['page', 'card'],
    accent: ['page', 'card'], second: ['page', 'card'], good: ['page', 'card'],
    warn: ['page', 'card', 'warn-soft'], bad: ['page', 'card', 'bad-soft'],
  })) for (const back of backs) {
    const [high, low] = [at(front), at(back)].sort((a, b) => b - a);
    pairs.push([`${front} on ${back}`, (high + 0.05) / (low + 0.05)]);
  }
  return pairs;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(page: Page, scheme: str) -> None:
    page.view(scheme=scheme)
    faint = {pair: round(ratio, 2) for pair, ratio in page.evaluate(CONTRAST) if ratio < 4.5}
    assert faint == {}


def test_all_of_it_is_reached_by_keyboard(page: Page) -> None:
    page.evaluate("document.body.focus()")
    reached: list[str] = []
    for _ in range(14):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.id"))
    joined = "\n".join(reached)
    for name in ("Skip to the requests", "Pause", "Requests", "Configuration", "Failed over", "search"):
        assert name in joined


def test_a_pause_holds_it_and_goes_on_where_it_was(stage: Stage, page: Page) -> None:
    page.evaluate("document.getElementById('pause').click()")
    before = len(rows(page))
    stage["openai"].answer(Answer(text=ANSWERED, usage=Usage(input=4321, output=1)))
    assert ask(stage, "gpt").status_code == 200
    page.evaluate("new Promise((done) => setTimeout(done, 2500))")
    assert len(rows(page)) == before
    assert page.text("#state-text") == "paused"
    page.evaluate("document.getElementById('pause').click()")
    wait_row(page, "4,321 → 1")
    told = rows(page)
    assert sum("4,321" in row for row in told) == 1


def test_a_name_that_was_rebound_shows_nothing(browser: Chromium, address: str) -> None:
    rebound = browser.open(address.replace("127.0.0.1", "rebound.example"))
    assert "localhost and loopback addresses only" in rebound.text()
    assert "Headgate" not in rebound.text()
    rebound.close()


def test_a_collector_that_dies_counts_again(browser: Chromium) -> None:
    with Stage(openai=Provider(OPENAI, key="sk-openai")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-openai"),
            route("models", [rule("gpt", ref("openai"))]),
        ]
        stage.run(documents, "--observe")
        page = browser.open(address_of(stage))
        page.wait("document.querySelectorAll('.tile').length === 6")
        assert stage.chat("gpt").status_code == 200
        page.wait("document.getElementById('foot').innerText.includes('1 request,')")
        (collector,) = stage.gateway.processes()["collector"]
        os.kill(collector, signal.SIGKILL)
        page.wait("document.getElementById('foot').innerText.includes('0 requests,')")
        page.wait("document.getElementById('trouble').hidden")
        assert stage.chat("gpt").status_code == 200
        wait_row(page, "gpt", "openai", "200")
        page.close()
