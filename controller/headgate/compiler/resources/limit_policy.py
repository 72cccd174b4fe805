"""LimitPolicy, group `headgate.dev`: limits on requests, tokens and money, of anything that requests pass."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.ai_gateway import GROUP as AI_GROUP
from headgate.compiler.resources.gateway_api import GROUP as GATEWAY_GROUP
from headgate.compiler.resources.metadata import Name63, Name253, Resource, Struct, Violation
from headgate.compiler.resources.quantities import Group
from headgate.compiler.resources.rate_limits import RateLimitSelectCondition

AMOUNT_MAX = 2**52
Amount = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
TARGETS = (
    (GATEWAY_GROUP, "Gateway"),
    (GATEWAY_GROUP, "HTTPRoute"),
    (AI_GROUP, "AIGatewayRoute"),
    (AI_GROUP, "AIServiceBackend"),
)


class LimitTarget(Struct, frozen=True, kw_only=True):
    """Names what is limited, in the policy's namespace."""

    group: Group
    """Group of the kind."""
    kind: Literal["Gateway", "HTTPRoute", "AIGatewayRoute", "AIServiceBackend"]
    """A limit of an `AIServiceBackend` is of that backend alone: used up, it makes requests go to others of their rule,
    while there are any."""
    name: Name253
    """Its name."""
    section_name: Annotated[str, msgspec.Meta(max_length=253)] = ""
    """A listener of a Gateway, or a rule of a route, by name."""


class ModelPrice(Struct, frozen=True, kw_only=True):
    """What a model costs, in millionths of a dollar per million tokens: 2500000 is $2.50."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """The model, as the backend is asked for it; `*` for all others."""
    input: Amount
    """Tokens of the prompt."""
    cached_input: Amount | None = None
    """Tokens of the prompt that the provider had cached; as `input` when absent."""
    output: Amount
    """Tokens of the answer."""


class LimitPolicyRule(Struct, frozen=True, kw_only=True):
    """One limit."""

    name: Name63
    """Its name, unique in the policy: what clients are told when it refuses, and metrics."""
    unit: Literal["requests", "tokens", "usd"]
    """What is counted."""
    amount: Amount
    """How much may be used in a window; for `usd` in millionths of a dollar."""
    window: Literal["second", "minute", "hour", "day", "week", "month", "year", "lifetime"]
    """In how long; `lifetime` never resets."""
    algorithm: Literal["Fixed", "Sliding", "TokenBucket"] = "Fixed"
    """`Fixed`: windows of the clock. `Sliding`: the last so many seconds. `TokenBucket`: holds `burst`, and is refilled
    evenly."""
    burst: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)] | None = None
    """What a token bucket holds; `amount` when absent."""
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Like `Europe/Berlin`: days, weeks, months and years are those of the calendar there. Without one they are whole
    days, weeks, 30 days and 365 days since 1970."""
    per: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern="^(client|source_ip|model|header:[a-z0-9-]{1,64})$")], ...],
        msgspec.Meta(max_length=8),
    ] = ()
    """Whom it counts apart: `client` (of an API key), `source_ip`, `model`, `header:<name>` (a team, or a claim that
    `claimToHeaders` of a SecurityPolicy puts there; a request without it is not counted). All together when empty."""
    models: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=253)], ...], msgspec.Meta(max_length=64)
    ] = ()
    """Counts requests for these models alone, as clients name them."""
    client_selectors: Annotated[tuple[RateLimitSelectCondition, ...], msgspec.Meta(max_length=8)] = ()
    """Counts requests that all of these select."""
    cost_expression: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """How many tokens a request counts for, in CEL; its total tokens when absent."""
    prices: Annotated[tuple[ModelPrice, ...], msgspec.Meta(max_length=64)] = ()
    """What models cost, for `unit: usd`."""
    reservation: Literal["Lenient", "Strict", "Off"] = "Lenient"
    """What tokens or money a request may cost is reserved until it is over. `Lenient`: a request is let in while
    anything is left. `Strict`: only where all that it may cost is. `Off`: nothing is reserved."""
    reserved_output_tokens: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 0
    """For how many tokens of an answer, where the request names no maximum."""
    count_prompts: bool = False
    """The tokens of prompts are counted before they are admitted, and reserved instead of a quarter of their bytes. On
    AI routes, whose requests then wait for the processor; the annotation `headgate.dev/count-prompts` does the same."""
    mode: Literal["Enforce", "Shadow"] = "Enforce"
    """`Shadow` counts and never refuses; the metric `shadow_mode` tells what would have been."""
    warn_at: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=100)], ...], msgspec.Meta(max_length=4)] = ()
    """Per cent of the amount from which answers bear `x-headgate-limit-warning`, and at which an event is logged."""
    refusal_status: Literal[402, 429] | None = None
    """The HTTP status of a refusal. When absent 402 for `usd`, because clients try again by themselves after 429, and
    429 for all else."""

    def violations(self) -> Iterator[Violation]:
        if self.unit == "usd" and not (self.prices or self.cost_expression):
            yield Violation("prices must be set for unit usd", "prices", "prices: [{model: '*', input: 0, output: 0}]")
        if self.unit != "usd" and self.prices:
            yield Violation("prices are for unit usd", "prices", "unit: usd")
        if self.unit == "requests" and self.cost_expression:
            yield Violation("costExpression is not for unit requests", "costExpression", "unit: tokens")
        if self.burst is not None and self.algorithm != "TokenBucket":
            yield Violation("burst is for algorithm TokenBucket", "burst", "algorithm: TokenBucket")
        if self.time_zone and self.algorithm != "Fixed":
            yield Violation("timeZone is for algorithm Fixed", "timeZone", "algorithm: Fixed")
        if self.window == "lifetime" and (self.algorithm != "Fixed" or self.time_zone):
            yield Violation("window lifetime is for algorithm Fixed, without timeZone", "window", "algorithm: Fixed")


Share = Annotated[int, msgspec.Meta(ge=0, le=100)]


class LimitPool(Struct, frozen=True, kw_only=True):
    """Some of the routes that share a limit. A pool may hold what is left when each that ranks above it has what it
    asked for in the last window, from its minimum to its maximum, and each other one its minimum."""

    name: Name63
    """Its name, unique in the policy: what clients are told when it is refused, and metrics."""
    rank: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """The lower, the higher it stands. Pools of one rank do not hold against each other beyond their minimum."""
    min_reservation: Share = 0
    """Per cent of the amount that are kept for it, whether it asks or not."""
    max_reservation: Share = 100
    """Per cent of the amount that it may hold."""
    routes: Annotated[tuple[Name253, ...], msgspec.Meta(max_length=64)] = ()
    """The routes, of the policy's namespace, whose requests are its own. Those in no pool are one below all."""

    def violations(self) -> Iterator[Violation]:
        if self.max_reservation < self.min_reservation:
            yield Violation("maxReservation must not be below minReservation", "maxReservation")


class LimitPolicySpec(Struct, frozen=True, kw_only=True):
    """Limits, and what they are of."""

    target_refs: Annotated[tuple[LimitTarget, ...], msgspec.Meta(min_length=1, max_length=16)]
    """What is limited. A limit of several counts the requests of all of them together, but each backend apart."""
    rules: Annotated[tuple[LimitPolicyRule, ...], msgspec.Meta(max_length=64)] = ()
    """The limits; every one of them must have room."""
    pools: Annotated[tuple[LimitPool, ...], msgspec.Meta(max_length=16)] = ()
    """Who shares one of them, and how: capacity that nobody uses is anybody's, and a pool that is busy has its share
    back within a window."""
    pooled_rule: Annotated[str, msgspec.Meta(max_length=63)] = ""
    """The name of the rule that pools share; the only one with `unit: tokens` and `window: minute` when absent."""

    @property
    def shared(self) -> LimitPolicyRule | None:
        """The rule that pools share; None where there are none, or it cannot be told."""
        if not self.pools:
            return None
        if self.pooled_rule:
            found = [rule for rule in self.rules if rule.name == self.pooled_rule]
        else:
            found = [rule for rule in self.rules if rule.unit == "tokens" and rule.window == "minute"]
        return found[0] if len(found) == 1 else None

    def violations(self) -> Iterator[Violation]:
        for index, target in enumerate(self.target_refs):
            if (target.group, target.kind) not in TARGETS:
                yield Violation("this group has no such kind to limit", f"targetRefs[{index}].group")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            yield Violation("rule names must be unique within the policy", "rules")
        yield from self._pool_violations()

    def _pool_violations(self) -> Iterator[Violation]:
        if self.pooled_rule and not self.pools:
            yield Violation("pooledRule needs pools", "pooledRule")
        if not self.pools:
            return
        if len({pool.name for pool in self.pools}) < len(self.pools):
            yield Violation("pool names must be unique within the policy", "pools")
        if sum(pool.min_reservation for pool in self.pools) > 100:
            yield Violation("the minReservations of all pools must not be above 100 together", "pools")
        routes = [route for pool in self.pools for route in pool.routes]
        if len(set(routes)) < len(routes):
            yield Violation("a route must be in one pool", "pools")
        shared = self.shared
        if shared is None:
            remedy = f"one of {', '.join(rule.name for rule in self.rules)}" if self.rules else "a rule"
            yield Violation("pools need one rule to share: pooledRule must name it", "pooledRule", remedy)
        elif shared.algorithm != "Fixed" or shared.time_zone or shared.window in ("second", "lifetime"):
            message = (
                "the rule that pools share must have algorithm Fixed, no timeZone, and a window from minute to year"
            )
            yield Violation(message, "pooledRule")


class LimitPolicy(Resource, frozen=True, kw_only=True):
    """Limits on requests, tokens and money, of Gateways, routes, their rules, or backends. All that apply to a request
    are decided together, and a refusal charges nothing."""

    spec: LimitPolicySpec
