"""Serves the webhook over TLS, on every replica; a renewed certificate is shown from the next connection on."""

import ssl
import tempfile
from pathlib import Path
from typing import Final

from aiohttp import web
from headgate.controller.certificates.authority import CERTIFICATE, KEY, Data
from headgate.controller.webhook.review import Decide, ReviewError, answer
from headgate.runtime.logging import event_log

log = event_log("controller")

PATH: Final = "/mutate"
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""A pod is at most 1.5 MiB in etcd, and stands in a question twice."""


class WebhookServer:
    """Listens between `start` and `close`."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._runner: web.AppRunner | None = None
        self.answers = 0
        self.injections = 0

    def use(self, data: Data) -> None:
        """Shows this certificate from now on."""
        with tempfile.TemporaryDirectory(prefix="headgate-") as directory:  # Python reads keys from files only
            chain, key = Path(directory) / "tls.crt", Path(directory) / "tls.key"
            chain.write_bytes(data[CERTIFICATE])
            key.touch(0o600)
            key.write_bytes(data[KEY])
            self._context.load_cert_chain(chain, key)

    async def start(self, address: str) -> int:
        """Listens on `host:port`; returns the port. Raises OSError."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_post(PATH, self._handle)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        host, _, port = address.rpartition(":")
        await web.TCPSite(self._runner, host.strip("[]") or None, int(port), ssl_context=self._context).start()
        return int(self._runner.addresses[0][1])

    @property
    def listening(self) -> bool:
        """Whether the API server can be answered."""
        return self._runner is not None

    async def close(self) -> None:
        """Stops listening; questions under way are answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            body = answer(await request.read(), self._decide)
        except ReviewError as error:
            log.warning("review_refused", error=str(error))
            return web.Response(status=400, text=f"{error}\n")
        self.answers += 1
        self.injections += b'"patch"' in body
        return web.Response(body=body, content_type="application/json")
