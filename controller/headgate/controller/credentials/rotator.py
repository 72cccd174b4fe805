"""Keeps credentials fresh: a task per exchange, which fetches, delivers and sleeps.

    want(exchanges) ──► a keeper per policy: wait until due ─► converse ─► deliver ─► wait …

What changes in a policy starts its keeper anew, and so does a Secret that is gone; what only comes back does not. A
failure leaves the old credential until it ends. The rules of time are in `rotation`, those of providers in `kinds`.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from headgate.compiler.exchanges import Current, Exchange
from headgate.compiler.resources.metadata import Name
from headgate.contract.secret import Secret
from headgate.controller.credentials import rotation
from headgate.controller.credentials.exchange import Answer, Call, Endpoints, ExchangeError, Moment, Token
from headgate.controller.credentials.kinds import steps
from headgate.controller.credentials.rotation import Rotation
from headgate.controller.credentials.token_secret import TokenSecret, fetched, not_fetched, seconds_of
from headgate.runtime.logging import event_log

log = event_log("controller")

AT_ONCE: Final = 8
"""Exchanges under way at the same time: a start with a thousand policies must not storm a provider."""

Fetch = Callable[[Call], Awaitable[Answer]]
"""Makes one HTTP request. Raises ExchangeError where there is no answer."""
Deliver = Callable[[TokenSecret], Awaitable[None]]
"""Puts a change into its Secret. Raises ExchangeError where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Clock and dice; tests bring their own."""

    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class _Keeper:
    exchange: Exchange
    task: asyncio.Task[None]
    seen: bool = False
    """Whether its Secret has come back to us."""


class Rotator:
    """See the module. All calls on one event loop."""

    def __init__(
        self,
        *,
        fetch: Fetch,
        deliver: Deliver,
        endpoints: Endpoints | None = None,
        default_credentials: Callable[[], Secret | None] = lambda: None,
        chances: Chances | None = None,
    ) -> None:
        self._fetch = fetch
        self._deliver = deliver
        self._endpoints = endpoints or Endpoints()
        self._default_credentials = default_credentials
        self._chances = chances or Chances()
        self._keepers: dict[Name, _Keeper] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def want(self, exchanges: Iterable[Exchange]) -> None:
        """These are the credentials to keep; none stops all."""
        wanted = {each.policy: each for each in exchanges}
        for policy in self._keepers.keys() - wanted.keys():
            self._keepers.pop(policy).task.cancel()
        for policy, exchange in wanted.items():
            known = self._keepers.get(policy)
            same = known is not None and (known.exchange.source, known.exchange.uid) == (exchange.source, exchange.uid)
            if known is not None and same and not (known.seen and exchange.current == Current()):
                known.seen = known.seen or exchange.current.usable
                continue
            if known is not None:
                known.task.cancel()
            task = asyncio.create_task(self._keep(exchange))
            self._keepers[policy] = _Keeper(exchange, task, exchange.current.usable)

    async def close(self) -> None:
        """Stops all keepers."""
        tasks = [keeper.task for keeper in self._keepers.values()]
        self._keepers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, exchange: Exchange) -> None:
        state = self._found(exchange)
        told = exchange.current.error
        while True:
            await self._chances.sleep(max(0.0, state.due - self._chances.clock()))
            try:
                async with self._turns:
                    token = await self._converse(exchange)
                    now = self._chances.clock()
                    renewed = rotation.succeeded(now, token.expires, self._chances.chance())
                    assert renewed.expires is not None
                    await self._deliver(fetched(exchange, token, renewed.expires))
                told, state = "", renewed
                log.info("credential_renewed", policy=str(exchange.policy), due_seconds=round(state.due - now, 1))
            except ExchangeError as error:
                told, state = await self._failed(exchange, str(error), told, state)

    def _found(self, exchange: Exchange) -> Rotation:
        current, now = exchange.current, self._chances.clock()
        # compat: a Secret without a fingerprint was made by another controller, from the same policy
        own = current.made_from in ("", exchange.fingerprint)
        expires = seconds_of(current.expires) if current.usable and own else None
        return rotation.begin(now, expires, self._chances.chance())

    async def _converse(self, exchange: Exchange) -> Token:
        file = await asyncio.to_thread(self._default_credentials)
        now = self._chances.clock()
        conversation = steps(exchange, Moment(now=now, endpoints=self._endpoints, default_credentials=file))
        try:
            call = next(conversation)
            while True:
                call = conversation.send(await self._fetch(call))
        except StopIteration as done:
            token: Token = done.value
            return token

    async def _failed(self, exchange: Exchange, error: str, told: str, state: Rotation) -> tuple[str, Rotation]:
        now = self._chances.clock()
        ended = state.expires is not None and not state.usable(now)
        state = rotation.failed(state, now, self._chances.chance())
        if ended:
            state = Rotation(state.due, None, state.failures)
        wait = round(state.due - now, 1)
        log.warning("credential_not_renewed", policy=str(exchange.policy), error=error, retry_seconds=wait)
        if error == told and not ended:
            return told, state  # it stands there already
        try:
            await self._deliver(not_fetched(exchange, error, ended=ended or not state.usable(now)))
        except ExchangeError as problem:
            log.warning("secret_not_written", secret=str(exchange.secret), error=str(problem))
            return "", state
        return error, state
