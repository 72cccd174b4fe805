"""The limits for rate limit services that are not on this machine: `GET /limits`, which can wait for a change.

If-None-Match and Prefer: wait=SECONDS   the answer comes when the limits are other ones, or as 304 after that time
"""

import asyncio
import re
from hashlib import blake2b
from typing import Final

from aiohttp import web
from headgate.runtime.pauses import wait_at_most

WAIT_SECONDS_MAX: Final = 30
_WAIT: Final = re.compile(r"\bwait=(\d{1,3})\b")


class LimitsPage:
    """Holds the current limits; unknown (503) until the first are published."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._tag = ""
        self._changed = asyncio.Event()

    def publish(self, text: str) -> None:
        """From now on these are the limits (YAML; empty where nothing is limited). Whoever waits is answered."""
        if text == self._text:
            return
        self._text = text
        self._tag = f'"{blake2b(text.encode(), digest_size=8).hexdigest()}"'
        self._changed.set()
        self._changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request."""
        if request.headers.get("If-None-Match") == self._tag and self._tag:
            found = _WAIT.search(request.headers.get("Prefer", ""))
            await wait_at_most(self._changed, min(int(found[1]), WAIT_SECONDS_MAX) if found else 0)
            if request.headers["If-None-Match"] == self._tag:
                return web.Response(status=304, headers={"ETag": self._tag})
        if self._text is None:
            return web.Response(status=503, text="not all objects were read yet\n")
        return web.Response(text=self._text, content_type="application/yaml", headers={"ETag": self._tag})
