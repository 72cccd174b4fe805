"""The HTTP client of exchanges: bounded, without redirections, through the proxies that were asked for.

aiohttp is imported with the first call: it is a sixth of the start of `headgate run`, which mostly exchanges nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headgate.contract.secret import Secret
from headgate.controller.credentials.exchange import Answer, Call, ExchangeError, Party, host_of

if TYPE_CHECKING:
    import aiohttp

CALL_SECONDS_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """URLs of proxies by party; empty takes what the environment says for all programs (`HTTPS_PROXY`, `NO_PROXY`)."""

    aws: str = ""
    azure: str = ""
    gcp: str = ""

    def of(self, party: Party) -> str:
        match party:
            case "aws":
                return self.aws
            case "azure":
                return self.azure
            case "gcp":
                return self.gcp
            case "oidc" | "machine":
                return ""


class Fetcher:
    """Makes calls; opened with the first one."""

    def __init__(self, proxies: Proxies | None = None) -> None:
        self._proxies = proxies or Proxies()
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, call: Call) -> Answer:
        """The answer, whatever its status. Raises ExchangeError where there is none."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        headers = {name: _plain(value) for name, value in call.headers.items()}
        body = call.body.reveal().encode() if call.method == "POST" else None
        proxy = self._proxies.of(call.party) or None
        try:
            # a redirection would take secrets to somebody else
            async with self._session.request(
                call.method, call.url, headers=headers, data=body, proxy=proxy, allow_redirects=False
            ) as response:
                return Answer(response.status, await _bounded(response, call))
        except TimeoutError:
            raise ExchangeError(f"{host_of(call)} did not answer in {CALL_SECONDS_MAX:g} s") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise ExchangeError(f"{host_of(call) or call.url} cannot be asked: {_reason(error)}") from None

    async def close(self) -> None:
        """Ends its connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
            await asyncio.sleep(0)


async def _bounded(response: "aiohttp.ClientResponse", call: Call) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise ExchangeError(f"{host_of(call)} answered with more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _reason(error: Exception) -> str:
    from aiohttp import InvalidURL

    if isinstance(error, InvalidURL):
        return "this is no URL"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
