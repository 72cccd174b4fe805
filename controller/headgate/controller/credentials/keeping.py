"""Exchanges for a gateway that reads files: tokens are laid over the world in memory, and never on a disk.

build ──exchanges──► want ──► Rotator ──token──► tokens ──changes──► build
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path

from headgate.compiler.exchanges import Exchange
from headgate.compiler.resources import core
from headgate.compiler.resources.metadata import Name
from headgate.contract.secret import Secret
from headgate.controller.credentials.exchange import Endpoints, ExchangeError
from headgate.controller.credentials.fetching import Fetcher, Proxies
from headgate.controller.credentials.rotator import Deliver, Rotator
from headgate.controller.credentials.settings import CredentialSettings
from headgate.controller.credentials.token_secret import TokenSecret, merged


class Keeping:
    """A rotator with the client that it asks with."""

    def __init__(self, settings: CredentialSettings, deliver: Deliver) -> None:
        self._fetcher = Fetcher(Proxies(**settings.proxies))
        self._rotator = Rotator(
            fetch=self._fetcher.fetch,
            deliver=deliver,
            endpoints=Endpoints(**{name.replace("-", "_"): url for name, url in settings.endpoints.items()}),
            default_credentials=_reader(settings.default_credentials),
        )

    def want(self, exchanges: Iterable[Exchange]) -> None:
        """These are the credentials to keep fresh; none stops all."""
        self._rotator.want(exchanges)

    async def close(self) -> None:
        """Stops, and ends its connections."""
        await self._rotator.close()
        await self._fetcher.close()


class Tokens:
    """The Secrets that exchanges have made in this process."""

    def __init__(self, settings: CredentialSettings) -> None:
        self._keeping = Keeping(settings, self._deliver)
        self._secrets: Mapping[Name, core.Secret] = {}
        self._changed = asyncio.Event()

    @property
    def secrets(self) -> Mapping[Name, core.Secret]:
        """By name; the mapping is never changed, only replaced, so any thread may read it."""
        return self._secrets

    def want(self, exchanges: Iterable[Exchange]) -> None:
        """What the newest build asks for."""
        self._keeping.want(exchanges)

    async def changes(self) -> AsyncGenerator[None]:
        """Yields after every change of `secrets`."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

    async def close(self) -> None:
        """Stops; tokens are forgotten with the process."""
        await self._keeping.close()

    async def _deliver(self, change: TokenSecret) -> None:
        self._secrets = {**self._secrets, change.name: merged(self._secrets.get(change.name), change)}
        self._changed.set()


def _reader(paths: tuple[Path, ...]) -> Callable[[], Secret | None]:
    def read() -> Secret | None:
        for path in paths:
            try:
                return Secret(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeError) as error:
                raise ExchangeError(f"the file of default credentials cannot be read: {path}: {error}") from None
        return None

    return read
