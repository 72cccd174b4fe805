"""The price table of a YAML file, read again when it changes; a file that is no table leaves the last one in force."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import yaml
from headgate.ledger.prices import PricesError, PriceTable, parse_prices
from headgate.runtime.logging import event_log

log = event_log("collector")

POLL_SECONDS: Final = 1.0


class PriceFile:
    """Follows one file."""

    def __init__(self, path: Path) -> None:
        """Reads it. Raises PricesError."""
        self._path = path
        self._seen = self._stamp()
        self.table = self._read()

    async def changes(self) -> AsyncIterator[PriceTable]:
        """Every later table."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            stamp = self._stamp()
            if stamp == self._seen:
                continue
            self._seen = stamp
            try:
                self.table = self._read()
            except PricesError as error:
                log.error("prices_rejected", error=str(error))
                continue
            log.info("prices_read", path=str(self._path))
            yield self.table

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _read(self) -> PriceTable:
        try:
            document: object = yaml.load(self._path.read_bytes(), yaml.CSafeLoader)
            return parse_prices(document)
        except OSError as error:
            raise PricesError(f"{self._path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise PricesError(f"{self._path}: not YAML: {error}") from error
        except PricesError as error:
            raise PricesError(f"{self._path}: {error}") from error
