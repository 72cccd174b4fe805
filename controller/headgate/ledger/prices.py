"""The price table: what a model's tokens cost, from when on.

```yaml
prices:
- model: gpt-4o            # as the provider answers or is asked; `*` stands for any text
  service: default/openai  # only of this AIServiceBackend; absent: of any
  from: 2026-01-01         # UTC; a newer row supersedes, and nothing is ever changed
  input: 2.50              # US dollars per million tokens
  cached_input: 1.25       # absent: as input
  cache_creation_input: 3  # absent: as input
  output: 10
  reasoning: 10            # absent: as output
  cache_creation_1h_input: 5   # absent: as cache_creation_input; what Claude keeps for an hour
  audio_input: 40          # absent: as input; so is image_input
  audio_output: 80         # absent: as output; so is image_output
  request: 0.001           # dollars, for each request that was served
  audio_minute: 0.006      # dollars per minute of transcribed audio, where the provider counts that
  characters: 15           # dollars per million characters that were spoken
  image: 0.04              # dollars, for each image of an answer
  web_search: 0.01         # dollars, for each search that Claude did
- model: gpt-4o
  batch: true              # what batches used, which no other row prices
  input: 1.25
  output: 5
teams:
  research: [alice, ci]    # clients, as their API keys are named
```

A row for exactly this model counts before one with `*`, one for the service before one for any, what the provider
answered before what it was asked; among equals the newest one that is in force at the request's start.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fnmatch import translate
from re import Pattern
from re import compile as compile_regex
from typing import Final, NamedTuple

import msgspec
from headgate.contract import metadata
from headgate.ledger.batches import OPERATION
from headgate.ledger.record import Tokens, UsageRecord, UsageSource

PICOS_PER_NANO: Final = 1_000
_PICOS_PER_MICRO: Final = 1_000_000
_PICOS_PER_DOLLAR: Final = 1_000_000_000_000
_CHOICES_MAX: Final = 16_384
"""Remembered choices: models come from requests, and so from clients."""


class PricesError(Exception):
    """The text is no price table; one line for the user, with the place."""


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row as it is written."""

    model: str
    output: Decimal = Decimal(0)
    input: Decimal = Decimal(0)
    service: str = ""
    start: datetime.date = msgspec.field(name="from", default=datetime.date(1970, 1, 1))
    cached_input: Decimal | None = None
    cache_creation_input: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal = Decimal(0)
    cache_creation_1h_input: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    audio_minute: Decimal = Decimal(0)
    characters: Decimal = Decimal(0)
    image: Decimal = Decimal(0)
    web_search: Decimal = Decimal(0)
    batch: bool = False
    source: str = ""
    """Where the price is from, for whoever reads the table."""


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prices: tuple[_Row, ...] = ()
    teams: dict[str, tuple[str, ...]] = {}


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A row, ready to be used. Amounts are whole numbers of 1e-12 dollars (picos), so sums are exact."""

    name: str
    model: str
    service: str
    batch: bool
    from_ns: int
    input: int
    cached_input: int
    cache_creation_input: int
    output: int
    reasoning: int
    request: int
    audio_minute: int
    apart: Mapping[str, int]
    """By metadata key: what each of these adds, which of a part of the tokens above is a difference."""

    def cost_nanos(self, tokens: Tokens, costs: Iterable[tuple[str, int]] = ()) -> int:
        """What a served request with these tokens costs. `costs`: the record's."""
        cached, created = tokens.cached_input or 0, tokens.cache_creation_input or 0
        reasoning = tokens.reasoning or 0
        picos = (
            max((tokens.input or 0) - cached - created, 0) * self.input
            + cached * self.cached_input
            + created * self.cache_creation_input
            + max((tokens.output or 0) - reasoning, 0) * self.output
            + reasoning * self.reasoning
            + self.request
        )
        for key, count in costs:
            if key == metadata.AUDIO_SECONDS:
                picos += count * self.audio_minute // 60
            else:
                picos += count * self.apart.get(key, 0)
        return (max(picos, 0) + PICOS_PER_NANO // 2) // PICOS_PER_NANO


class Cost(NamedTuple):
    """What a request costs, in billionths of a dollar, and the row that says so."""

    nanos: int
    price: str


class PriceTable:
    """Immutable, but for what it remembers of earlier choices."""

    def __init__(self, rows: tuple[Price, ...] = (), teams: Mapping[str, str] | None = None) -> None:
        """`teams`: client to team."""
        newest_first = sorted(rows, key=lambda row: -row.from_ns)
        self.teams: Mapping[str, str] = teams or {}
        self._exact: dict[str, list[Price]] = {}
        self._patterns: list[tuple[Pattern[str], Price]] = []
        for row in newest_first:
            if "*" in row.model:
                self._patterns.append((compile_regex(translate(row.model)), row))
            else:
                self._exact.setdefault(row.model, []).append(row)
        self._choices: dict[tuple[bool, str, str, str], tuple[Price, ...]] = {}

    def price(self, record: UsageRecord) -> Price | None:
        """The row that counts for the request."""
        if not self._exact and not self._patterns:
            return None
        key = (record.operation == OPERATION, record.service, record.response_model, record.request_model)
        found = self._choices.get(key)
        if found is None:
            if len(self._choices) >= _CHOICES_MAX:
                self._choices.clear()
            found = self._choices[key] = tuple(self._candidates(*key))
        return next((row for row in found if row.from_ns <= record.started_ns), None)

    def cost(self, record: UsageRecord) -> "Cost | None":
        """What the request costs; None where there is no price or nothing was used."""
        if record.usage_source is UsageSource.NONE and (record.error or not record.attempts):
            return None
        row = self.price(record)
        if row is None:
            return None
        return Cost(row.cost_nanos(record.tokens, record.costs), row.name)

    def _candidates(self, batch: bool, service: str, *models: str) -> Iterator[Price]:
        """Best first."""
        names = [model for model in models if model]
        exact = [row for name in names for row in self._exact.get(name, ())]
        globs = [row for name in names for pattern, row in self._patterns if pattern.match(name)]
        for found in (exact, globs):
            rows = [row for row in found if row.batch == batch]
            yield from (row for row in rows if row.service == service)
            yield from (row for row in rows if not row.service)


NO_PRICES: Final = PriceTable()


def unpriced(record: UsageRecord) -> bool:
    """Whether something was served that no price was found for."""
    if record.cost_nanos is not None:
        return False
    served = bool(record.request_model and record.attempts) and not record.error
    return served or record.usage_source is not UsageSource.NONE


def parse_prices(document: object) -> PriceTable:
    """The table of a parsed YAML document. Raises PricesError."""
    try:
        read = msgspec.convert(document or {}, _Document, strict=False)
    except msgspec.ValidationError as error:
        raise PricesError(str(error)) from None
    teams: dict[str, str] = {}
    for team, clients in read.teams.items():
        for client in clients:
            if client in teams:
                raise PricesError(f"client {client!r} is in two teams: {teams[client]!r} and {team!r}")
            teams[client] = team
    return PriceTable(tuple(_price(index, row) for index, row in enumerate(read.prices)), teams)


def _price(index: int, row: _Row) -> Price:
    def picos(amount: Decimal, unit: int = _PICOS_PER_MICRO) -> int:
        if amount < 0 or not amount.is_finite():
            raise PricesError(f"prices[{index}]: a price is not negative: {amount}")
        return int(amount * unit)  # dollars per million tokens are micros per token

    def like(amount: Decimal | None, otherwise: Decimal) -> int:
        return picos(otherwise if amount is None else amount)

    created = row.input if row.cache_creation_input is None else row.cache_creation_input
    apart = {
        metadata.CACHE_CREATION_1H_INPUT_TOKENS: like(row.cache_creation_1h_input, created) - picos(created),
        metadata.AUDIO_INPUT_TOKENS: like(row.audio_input, row.input) - picos(row.input),
        metadata.AUDIO_OUTPUT_TOKENS: like(row.audio_output, row.output) - picos(row.output),
        metadata.IMAGE_INPUT_TOKENS: like(row.image_input, row.input) - picos(row.input),
        metadata.IMAGE_OUTPUT_TOKENS: like(row.image_output, row.output) - picos(row.output),
        metadata.CHARACTERS: picos(row.characters),
        metadata.IMAGES: picos(row.image, _PICOS_PER_DOLLAR),
        metadata.WEB_SEARCHES: picos(row.web_search, _PICOS_PER_DOLLAR),
    }
    midnight = datetime.datetime.combine(row.start, datetime.time(), datetime.UTC)
    return Price(
        name=f"{'batch:' if row.batch else ''}{row.service + ':' if row.service else ''}{row.model}@{row.start}",
        model=row.model,
        service=row.service,
        batch=row.batch,
        from_ns=int(midnight.timestamp()) * 1_000_000_000,
        input=picos(row.input),
        cached_input=like(row.cached_input, row.input),
        cache_creation_input=picos(created),
        output=picos(row.output),
        reasoning=like(row.reasoning, row.output),
        request=picos(row.request, _PICOS_PER_DOLLAR),
        audio_minute=picos(row.audio_minute, _PICOS_PER_DOLLAR),
        apart=apart,
    )
