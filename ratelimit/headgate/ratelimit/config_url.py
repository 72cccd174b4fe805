"""Reads the limits from the controller, over HTTP, and hears of changes at once: a request waits there for them.

    GET URL, If-None-Match: what we have, Prefer: wait=25  ──►  200 the limits (YAML, a domain each; may be empty)
                                                                304 unchanged;  503 not known yet

What was good stays in force while the controller cannot be reached, or says something that cannot be read.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import aiohttp
from headgate.limits.config import ConfigError, Domain
from headgate.limits.config_text import parse_text
from headgate.limits.matching import Snapshot, build_snapshot
from headgate.runtime.logging import event_log

log = event_log("ratelimit")

WAIT_SECONDS: Final = 25
RETRY_SECONDS: Final = 2.0
FIRST_SECONDS: Final = 60.0
"""How long a limiter that starts waits for its controller."""
BODY_BYTES_MAX: Final = 64 * 1024 * 1024


class UrlSource:
    """The limits that one URL gives."""

    def __init__(
        self, url: str, *, on_error: Callable[[str], None] = lambda _: None, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._url = url
        self._on_error = on_error
        self._retry_seconds = retry_seconds
        self._tag = ""
        self._error = ""

    async def first(self) -> Snapshot | None:
        """The limits; None where there were none to be had in `FIRST_SECONDS`."""
        try:
            async with asyncio.timeout(FIRST_SECONDS), _session() as session:
                return await self._next(session)
        except TimeoutError:
            return None

    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        """Hands every change to `use`, until it is cancelled."""
        async with _session() as session:
            while True:
                snapshot = await self._next(session)
                log.info("config_loaded", domains=len(snapshot.domains))
                use(snapshot)

    async def _next(self, session: aiohttp.ClientSession) -> Snapshot:
        """The next limits that are not those we have."""
        while True:
            try:
                snapshot = await self._ask(session)
            except (aiohttp.ClientError, ConfigError, TimeoutError, OSError, UnicodeDecodeError) as error:
                self._failed(f"{self._url}: {error or type(error).__name__}")
                await asyncio.sleep(self._retry_seconds * random.uniform(0.5, 1.0))
                continue
            self._error = ""
            if snapshot is not None:
                return snapshot

    async def _ask(self, session: aiohttp.ClientSession) -> Snapshot | None:
        headers = {"If-None-Match": self._tag, "Prefer": f"wait={WAIT_SECONDS}"} if self._tag else {}
        async with session.get(self._url, headers=headers) as response:
            if response.status == 304:
                return None
            if response.status != 200:
                raise aiohttp.ClientError(f"answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise aiohttp.ClientError(f"larger than {BODY_BYTES_MAX} bytes")
            domains: dict[str, Domain] = {}
            # In a thread: large limits take longer to read than a decision may wait.
            for domain in await asyncio.to_thread(parse_text, body.decode(), file=self._url):
                domains.setdefault(domain.name, domain)
            self._tag = response.headers.get("ETag", "")
            return build_snapshot(domains.values())

    def _failed(self, message: str) -> None:
        if message != self._error:
            self._error = message
            log.error("config_rejected", error=message, kept_last_good=bool(self._tag))
            self._on_error(message)


def _session() -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS + 10))
