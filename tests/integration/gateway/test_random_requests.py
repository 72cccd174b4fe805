"""The books add up, whatever comes: of seeded random requests log, store and metrics say the same, limits too (but for
what broke off, of which they keep what was reserved), and of what was served to its end exactly what its provider told.

A run is a seed: `HEADGATE_TEST_SEEDS=40` runs so many, `17-19` those. The configuration changes in the middle of it.
"""

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx
import pytest
from support import manifests
from support.ledger import LedgerFile
from support.manifests import AI, Document, backend, document, ref, route, rule, secret, target
from support.mixed_requests import CLIENT_DIALECTS, providers
from support.prometheus import Page
from support.providers import Answer, Delivery, Failure, Usage
from support.providers.received import Received
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

REQUESTS, AT_ONCE = 120, 6
AMOUNT = 1_000_000_000
"""Of each limit: nothing comes near it."""
MESSAGES_MAX = 64
"""Tokens that a client of Anthropic's may be answered with."""
PRICES = "prices: [{model: '*', input: 2, output: 10}]"
CLIENTS = ("chat", "messages", "responses", "gemini", "converse", "cohere")
SCHEMAS = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
    "cohere": "Cohere",
    "bedrock": "AWSBedrock",
}
CALLED = (*("",) * 9, "text/plain; charset=utf-8", "application/json", "application/octet-stream")
"""What providers call their answers, mostly what they are."""
KEYS = {"openai": "sk-o", "second": "sk-2", "anthropic": "sk-a", "gemini": "sk-g", "cohere": "sk-c", "bedrock": ""}
AWS_FILE = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret-of-aws\n"
MODELS = [*SCHEMAS, *(f"{name}-second" for name in SCHEMAS)]
"""Each names its backends, the first asked first."""


def _seeds() -> range:
    """Those that are asked for."""
    first, _, last = os.environ.get("HEADGATE_TEST_SEEDS", "1").rpartition("-")
    return range(int(first or 0), int(last) + bool(first))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: who asks for what, what the first backend replies, and whether the client leaves."""

    number: int
    client: str
    model: str
    stream: bool
    reply: Answer | Failure
    leaves: bool


def _drawn(choose: random.Random, number: int) -> Asked:
    ends = choose.choice(("whole",) * 6 + ("abort", "hang", "fail", "fail"))
    after = choose.randint(1, 600)
    delivery = Delivery(
        cut=choose.choice(("events", "events", "bytes", "whole", "tail")),
        abort_after_bytes=after if ends == "abort" else None,
        hang_after_bytes=after if ends == "hang" else None,
    )
    answer = Answer(
        text="word " * choose.choice((1, 20, 400)),
        pieces=choose.choice((1, 3, 20)),
        usage=Usage(input=choose.randint(1, 500), output=choose.randint(1, 900)),
        headers={"content-type": called} if (called := choose.choice(CALLED)) else {},
        delivery=delivery,
    )
    reply = Failure(choose.choice((400, 429, 500, 503)), "no") if ends == "fail" else answer
    stream = ends == "hang" or choose.random() < 0.6
    leaves = ends == "hang" or (stream and choose.random() < 0.15)
    return Asked(number, choose.choice(CLIENTS), choose.choice(MODELS), stream, reply, leaves)


def _documents(stage: Stage, *more: Document) -> list[Document]:
    aws = {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}}
    signed = {**target("AIServiceBackend", "bedrock"), "type": "AWSCredentials", "awsCredentials": aws}
    prices = [{"model": "*", "input": 2_000_000, "output": 10_000_000}]
    limit = {"amount": AMOUNT, "window": "lifetime"}
    limits = [
        {**limit, "name": "tokens", "unit": "tokens", "per": ["header:x-tokens"]},
        {**limit, "name": "money", "unit": "usd", "per": ["header:x-money"], "prices": prices},
    ]
    return [
        *manifests.gateway({"port": stage.port}),
        secret("aws", credentials=AWS_FILE),
        *(each for n, key in KEYS.items() for each in backend(n, stage[n].port, SCHEMAS.get(n, "OpenAI"), key=key)),
        document(f"{AI}/v1beta1", "BackendSecurityPolicy", "aws", signed),
        route(
            "models",
            [rule(name, *(ref(each, priority=n) for n, each in enumerate(name.split("-")))) for name in MODELS],
        ),
        document(
            "headgate.dev/v1alpha1", "LimitPolicy", "all", {**target("AIGatewayRoute", "models"), "rules": limits}
        ),
        *more,
    ]


class _Run:
    """The requests of a seed, and what the providers told."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.seed = stage, seed
        self._choose = random.Random(seed)
        self.asked = [_drawn(self._choose, number) for number in range(REQUESTS)]
        self._second = Usage(input=self._choose.randint(1, 500), output=self._choose.randint(1, 900))
        self._lock = Lock()
        self._told: dict[int, Usage] = {}
        self._begun = 0

    def usage(self) -> Mapping[int, Usage]:
        """By request, what its provider told, or would have."""
        return self._told

    def _answer(self, name: str) -> Any:
        def reply(received: Received) -> Any:
            asked = self.asked[int(received.header("x-number") or 0)]
            found = asked.reply if asked.model.startswith(name) else Answer(usage=self._second)
            if isinstance(found, Answer):
                with self._lock:
                    self._told[asked.number] = found.usage
            return found

        return reply

    def _reload(self) -> None:
        other = route("other", [rule(f"other-{self.seed}", ref("second"))])
        self.stage.gateway.write(manifests.text(_documents(self.stage, other)))

    def _ask(self, client: httpx.Client, asked: Asked) -> str:
        """Whether it came to its end: `whole`, `refused` or `broken`."""
        if asked.number == REQUESTS // 2:
            self._reload()
        dialect = CLIENT_DIALECTS[asked.client]
        path = (asked.stream and dialect.stream_path) or dialect.path
        path += f"{'&' if '?' in path else '?'}number={self.seed}.{asked.number}"
        body = {**dialect.body(asked.model), **({"stream": True} if asked.stream and not dialect.stream_path else {})}
        headers = {"x-number": str(asked.number), "x-tokens": "run", "x-money": "run", **dialect.headers}
        waits = 2 if asked.leaves else 60  # what hangs may have said nothing yet
        request = client.build_request("POST", path.format(asked.model), json=body, headers=headers, timeout=waits)
        try:
            response = client.send(request, stream=True)
        except httpx.TransportError:
            return "broken"
        try:
            if asked.leaves and response.status_code == 200:
                next(response.iter_raw(), None)
                return "broken"
            response.read()
        except httpx.TransportError:
            return "broken"
        finally:
            response.close()
        return "whole" if response.status_code == 200 else "refused"

    def run(self) -> Sequence[str]:
        """How each ended."""
        for name, provider in self.stage.providers.items():
            provider.answer(self._answer(name))
        with ThreadPoolExecutor(AT_ONCE) as pool, httpx.Client(base_url=self.stage.url, timeout=60) as client:
            asking = [pool.submit(self._ask, client, asked) for asked in self.asked]
            ended = [each.result() for each in asking]
        for provider in self.stage.providers.values():
            provider.answer(Failure(400, "no"))
        return ended


@pytest.fixture(scope="module", params=["memory", "redis"])
def running(
    request: pytest.FixtureRequest, redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, LedgerFile]]:
    redis_process.flush()
    ledger = LedgerFile(tmp_path_factory.mktemp("random") / "usage.db")
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    with Stage(**{name: each for name, each in providers().items() if name in KEYS}) as stage:
        yield stage.run(_documents(stage), "--ledger", str(ledger.path), "--prices", str(prices), *arguments), ledger


def _charged(stage: Stage, what: str) -> int:
    """What a limit has been charged, by a request that uses nothing."""
    body = {"model": "openai", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = stage.http.post(f"{stage.url}/v1/chat/completions", json=body, headers={f"x-{what}": "run"})
    assert answer.status_code == 400, answer.text
    return AMOUNT - int(answer.headers["x-ratelimit-remaining"])


def _number(row: Mapping[str, Any], seed: int) -> int | None:
    found = re.search(rf"number={seed}\.(\d+)", row["path"])
    return int(found[1]) if found else None


@pytest.mark.parametrize("seed", _seeds())
def test_the_books_add_up(running: tuple[Stage, LedgerFile], seed: int) -> None:
    stage, ledger = running
    run = _Run(stage, seed)
    ended = run.run()

    def complete() -> dict[int, Mapping[str, Any]] | None:
        rows = [(number, row) for row in ledger.rows() if (number := _number(row, seed)) is not None]
        return dict(rows) if len(rows) >= REQUESTS else None

    rows = wait_until(complete, f"{REQUESTS} rows")
    assert rows.keys() == set(range(REQUESTS))
    _check_providers(run, ended, rows)
    _check_limits(stage, ledger)
    _check_log(stage, ledger)


def _check_providers(run: _Run, ended: Sequence[str], rows: Mapping[int, Mapping[str, Any]]) -> None:
    """What came to its end is what the provider told; what was refused used nothing."""
    for number, row in rows.items():
        told, asked = run.usage().get(number), run.asked[number]
        what = (asked, ended[number], row)
        if ended[number] == "refused":
            assert not row["total_tokens"] or row["error"], what
        elif ended[number] == "whole" and not row["error"]:
            assert told is not None, what
            assert row["usage_source"] == "reported", what
            assert (row["input_tokens"], row["output_tokens"]) == (told.input, told.output), what
        assert row["cost_nanos"] in (None, _micros(row) * 1000), what


def _micros(row: Mapping[str, Any]) -> int:
    return 2 * (row["input_tokens"] or 0) + 10 * (row["output_tokens"] or 0)


def _charges(row: Mapping[str, Any], told: int, *, prompt: int = 1, answer: int = 1) -> int:
    """What a limit is charged for a request: what it used, and no less than was reserved where the answer broke off."""
    if not row["flags"] or row["status"] >= 400:
        return told
    most = MESSAGES_MAX if row["operation"] == "messages" else 0
    return max(told, (row["request_bytes"] // 4 + 1) * prompt + most * answer)


def _check_limits(stage: Stage, ledger: LedgerFile) -> None:
    """Limits were charged what the store has."""
    rows = ledger.rows()
    tokens = sum(_charges(row, row["total_tokens"] or 0) for row in rows)
    micros = sum(_charges(row, _micros(row), prompt=2, answer=10) for row in rows)
    for what, wanted in (("tokens", tokens), ("money", micros)):
        found: list[int] = []

        def charged(what: str = what, wanted: int = wanted, found: list[int] = found) -> bool:
            found.append(_charged(stage, what))
            return found[-1] == wanted

        wait_until(charged, f"{wanted} {what} to be charged")


def _check_log(stage: Stage, ledger: LedgerFile) -> None:
    """Log and metrics say what the store says."""
    rows = ledger.rows()

    def logged() -> Mapping[str, Mapping[str, Any]] | None:
        found = {each["id"]: each for each in map(json.loads, stage.access_log_path.read_text().splitlines())}
        return found if all(row["id"] in found for row in rows) else None

    lines = wait_until(logged, "lines of all rows")
    for row in rows:
        line = lines[row["id"]]
        for kind in ("input", "output", "total"):
            assert line.get("tokens", {}).get(kind) == row[f"{kind}_tokens"], (kind, row, line)
        assert line.get("cost_nanos") == row["cost_nanos"], (row, line)
    admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)
    page = Page(httpx.get(f"{admin}/metrics", timeout=30).text)
    for kind in ("input", "output"):
        counted = Counter[str]()
        for row in ledger.rows():
            counted[row["original_model"]] += row[f"{kind}_tokens"] or 0
        told = page.by("gen_ai_original_model", "gen_ai_client_token_usage_token_sum", gen_ai_token_type=kind)
        assert +Counter(told) == +counted, kind
