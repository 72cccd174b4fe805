"""Keepers of credentials, in virtual time."""

import asyncio
import json
from dataclasses import replace

import pytest
from headgate.compiler.exchanges import (
    ERROR,
    EXPIRATION,
    MADE_FROM,
    AzureSecret,
    Current,
    Exchange,
)
from headgate.compiler.resources.metadata import Name
from headgate.contract.secret import Secret
from headgate.controller.credentials.exchange import Answer, Call, ExchangeError
from headgate.controller.credentials.rotator import Chances, Rotator
from headgate.controller.credentials.token_secret import TokenSecret, merged
from support.waiting import BUSY_SECONDS

SOURCE = AzureSecret(tenant_id="t", client_id="c", client_secret=Secret("s"))
POLICY = Exchange(policy=Name("ns", "azure"), source=SOURCE)


class Bench:
    """A rotator whose clock runs as fast as it sleeps, for `seconds`."""

    def __init__(self, seconds: float = 10_000.0) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, str]] = []
        self.delivered: list[tuple[float, TokenSecret]] = []
        self.down: set[str] = set()
        self.unwritable = False
        self.over = asyncio.Event()
        self._seconds = seconds
        self.rotator = Rotator(
            fetch=self._fetch,
            deliver=self._deliver,
            chances=Chances(clock=lambda: self.now, chance=lambda: 0.0, sleep=self._sleep),
        )

    async def _sleep(self, seconds: float) -> None:
        if self.now + seconds > self._seconds:
            self.over.set()
            await asyncio.Event().wait()
        self.now += seconds
        await asyncio.sleep(0)

    async def _fetch(self, call: Call) -> Answer:
        self.calls.append((self.now, call.url))
        if "down" in self.down:
            raise ExchangeError("nobody answers")
        return Answer(200, json.dumps({"access_token": f"t{len(self.calls)}", "expires_in": 3600}).encode())

    async def _deliver(self, change: TokenSecret) -> None:
        if self.unwritable:
            raise ExchangeError("the Secret cannot be written")
        self.delivered.append((self.now, change))

    async def live(self, *exchanges: Exchange) -> None:
        self.rotator.want(exchanges)
        async with asyncio.timeout(BUSY_SECONDS):
            await self.over.wait()
        await self.rotator.close()

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.calls]


async def test_a_token_is_renewed_five_minutes_before_its_end() -> None:
    bench = Bench()
    await bench.live(POLICY)
    assert bench.times == [0.0, 3300.0, 6600.0, 9900.0]
    first = bench.delivered[0][1]
    assert first.name == Name("ns", "ai-eg-bsp-azure")
    assert first.annotations == {EXPIRATION: "1970-01-01T01:00:00Z", MADE_FROM: POLICY.fingerprint, ERROR: None}
    assert first.values == {"azureAccessToken": Secret("t1")}


async def test_what_is_there_is_not_fetched_again() -> None:
    current = Current(expires="1970-01-01T01:00:00Z", made_from=POLICY.fingerprint, usable=True)
    bench = Bench(3600)
    await bench.live(replace(POLICY, current=current))
    assert bench.times == [3300.0]


@pytest.mark.parametrize(
    "current", [Current(expires="1970-01-01T01:00:00Z", made_from="other", usable=True), Current()]
)
async def test_what_was_made_of_something_else_is_fetched_at_once(current: Current) -> None:
    bench = Bench(100)
    await bench.live(replace(POLICY, current=current))
    assert bench.times == [0.0]


async def test_a_failure_is_told_once_and_tried_again_within_a_minute() -> None:
    bench = Bench(1000)
    bench.down.add("down")
    await bench.live(POLICY)
    assert [dict(change.annotations)[ERROR] for _, change in bench.delivered] == ["nobody answers"]
    waits = [after - before for before, after in zip(bench.times, bench.times[1:], strict=False)]
    assert max(waits) <= 60
    assert len(bench.calls) > 15


async def test_a_token_stays_until_it_ends_and_then_goes() -> None:
    bench = Bench(5000)
    current = Current(expires="1970-01-01T01:00:00Z", made_from=POLICY.fingerprint, usable=True)
    bench.down.add("down")
    await bench.live(replace(POLICY, current=current))
    (failed_at, kept), (ended_at, gone) = bench.delivered
    assert failed_at == 3300
    assert kept.values is None
    assert ended_at == 3600
    assert gone.values == {}
    assert dict(gone.annotations)[EXPIRATION] is None


async def test_a_secret_that_cannot_be_written_is_tried_again() -> None:
    bench = Bench(300)
    bench.unwritable = True
    await bench.live(POLICY)
    assert 5 < len(bench.calls) < 20


async def test_a_policy_that_changes_is_fetched_anew_and_one_that_comes_back_is_not() -> None:
    bench = Bench(50)
    bench.rotator.want([POLICY])
    await bench.over.wait()
    bench.rotator.want([replace(POLICY, current=Current(expires="1970-01-01T01:00:00Z", usable=True))])
    await asyncio.sleep(0)
    assert len(bench.calls) == 1
    bench.over.clear()
    bench.rotator.want([replace(POLICY, source=replace(SOURCE, client_secret=Secret("new")))])
    async with asyncio.timeout(BUSY_SECONDS):
        await bench.over.wait()
    await bench.rotator.close()
    assert len(bench.calls) == 2


async def test_what_nobody_wants_is_not_renewed() -> None:
    bench = Bench(20_000)
    bench.rotator.want([POLICY])
    bench.rotator.want([])
    await asyncio.sleep(0.01)
    assert bench.calls == []
    await bench.rotator.close()


def test_a_failure_leaves_the_values_of_a_secret() -> None:
    found = TokenSecret(exchange=POLICY, values={"k": Secret("v")}, annotations={EXPIRATION: "x", ERROR: None})
    secret = merged(None, found)
    assert (secret.value("k"), secret.metadata.annotations) == (Secret("v"), {EXPIRATION: "x"})
    secret = merged(secret, TokenSecret(exchange=POLICY, values=None, annotations={ERROR: "e"}))
    assert (secret.value("k"), secret.metadata.annotations) == (Secret("v"), {EXPIRATION: "x", ERROR: "e"})
    secret = merged(secret, TokenSecret(exchange=POLICY, values={}, annotations={EXPIRATION: None}))
    assert (secret.keys, secret.metadata.annotations) == ((), {ERROR: "e"})


async def test_a_secret_that_is_gone_is_fetched_again() -> None:
    bench = Bench(50)
    seen = replace(POLICY, current=Current(expires="1970-01-01T01:00:00Z", usable=True))
    bench.rotator.want([POLICY])
    async with asyncio.timeout(BUSY_SECONDS):
        await bench.over.wait()
    bench.rotator.want([POLICY])  # it is not visible yet
    bench.rotator.want([seen])
    assert len(bench.calls) == 1
    bench.over.clear()
    bench.rotator.want([POLICY])
    async with asyncio.timeout(BUSY_SECONDS):
        await bench.over.wait()
    await bench.rotator.close()
    assert len(bench.calls) == 2
