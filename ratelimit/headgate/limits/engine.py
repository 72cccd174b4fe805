"""Plans what a rate limit request asks of a storage, and decides from what the storage replied.

    plan = plan_request(snapshot, request, now=now)
    outcome = await storage.run(plan.transaction)
    decision = decide_request(plan, outcome)

Rules of a transaction, which every storage keeps:
1. Operations are examined in order, each as if those before it had been applied, so that two descriptors with one
   counter are counted together.
2. All or nothing: when any operation that refuses is over its limit, none is applied; nor when there are quotas, which
   refuse together, and all of them are over.
3. Unless it is a settlement: then every operation is applied, over or not, because the hits have already happened.
4. What operations of a named request reserve is remembered under its name, for `HOLD_SECONDS`. An admission of a name
   that is remembered, or was settled in the last `SETTLED_SECONDS`, is a repetition: granted, it changes nothing.
5. A settlement replaces what its request reserved by what it used (`counting.settle`), and is then remembered for
   `SETTLED_SECONDS`: repeated, it changes nothing. Where nothing was reserved, what was used is charged.
6. A reservation that is forgotten before it is settled stays counted: lost messages never make room.
7. Of a transaction's alternatives the first that has room is applied with its `ops`; where none has, nothing is. Those
   after it are only looked at. So is a backend chosen (`steering`): its limits are an alternative each.
8. What a pool is refused is remembered as its demand, which holds room for it: the only thing that a refusal counts.

The values made for each request are msgspec structs: a frozen dataclass takes ten times as long to make, and the
garbage collector need not look at values that cannot be in a cycle.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec
from headgate.contract.steering import Choice
from headgate.limits import steering
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part, counter_after, over_limit, remaining
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.algorithms.pooled_window import plan_pooled
from headgate.limits.algorithms.token_bucket import TokenBucketOp, plan_bucket
from headgate.limits.algorithms.token_bucket import reset_seconds as bucket_reset_seconds
from headgate.limits.calendar import window
from headgate.limits.config import Reserve
from headgate.limits.matching import Entries, Match, Rule, Snapshot, counter_stem, match_descriptor
from headgate.limits.units import COUNT_MAX, UNIT_SECONDS, Unit

REMAINING_UNLIMITED: Final = 2**32 - 1
"""`limit_remaining` of an unlimited rule, as envoyproxy/ratelimit answers."""

HOLD_SECONDS: Final = 3600
"""How long a reservation waits for its settlement: the longest stream whose refund arrives."""

HOLD: Final = "headgate-hold_"
"""What the keys of reservations begin with, after the prefix."""

SETTLED_SECONDS: Final = 60
"""How long a settlement is known for a repetition."""

FETCHED: Final = "headgate-fetched_"
"""What the keys of stored answers begin with that were charged, after the prefix."""

FETCHED_SECONDS: Final = 24 * 3600
"""How long it is known that a stored answer was charged: clients ask for one again within minutes."""


class Moment(Enum):
    """When in a request's life it is asked."""

    ADMISSION = "admission"
    """Before it is served: may it?"""
    SETTLEMENT = "settlement"
    """After it was served: this is what it cost."""


class LimitOverride(msgspec.Struct, frozen=True, gc=False):
    """A limit that came with the request; it wins over the configured one."""

    amount: int
    unit: Unit


class RequestDescriptor(msgspec.Struct, frozen=True, gc=False):
    """One descriptor of a request. `hits` may be 0 (check only) or negative (give back)."""

    entries: Entries
    hits: int = 1
    override: LimitOverride | None = None


class LimitRequest(msgspec.Struct, frozen=True, gc=False):
    """A rate limit request."""

    domain: str
    descriptors: tuple[RequestDescriptor, ...]
    moment: Moment = Moment.ADMISSION
    interrupted: bool = False
    """The answer broke off, by the client or by the provider: no usage does not mean that nothing was used."""
    backends: tuple[Choice, ...] = ()
    """Where it may go, at admission; limits of single backends choose among them."""


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """What a storage does in one atomic step."""

    ops: tuple[Op, ...]
    all_or_nothing: bool
    now: int
    """Unix seconds."""
    request: str = ""
    """The name of the request that reserves or settles; empty where it does neither."""
    alternatives: tuple[tuple[Op, ...], ...] = ()
    """Rule 7; only where all or nothing."""

    @property
    def attempts(self) -> "tuple[Transaction, ...]":
        """The alternatives as transactions without any, to be run in their order until one is applied."""
        return tuple([Transaction(self.ops + each, True, self.now, self.request) for each in self.alternatives])


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a storage found: per operation the counter it was examined against, and whether all were applied.

    Of a settlement the counter is told as it would be without the request, so that adding its hits gives what it is.
    """

    before: tuple[int, ...]
    applied: bool
    chosen: int = 0
    """The alternative that was applied, where there are any."""
    alternatives: tuple[tuple[int, ...], ...] = ()
    """Per alternative what `before` is of `ops`."""
    known: tuple[bool, ...] = ()
    """Of a refusal that the storage remembered, without looking: which counters it remembers. Of the others nothing is
    known. Empty where it looked."""


def joined(transaction: Transaction, outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a transaction with alternatives, from those of its attempts."""
    chosen = next((index for index, each in enumerate(outcomes) if each.applied), len(outcomes))
    applied = chosen < len(outcomes)
    common = len(transaction.ops)
    return Outcome(
        outcomes[chosen if applied else 0].before[:common],
        applied,
        chosen if applied else 0,
        tuple([each.before[common:] for each in outcomes]),
    )


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A transaction, and for each descriptor its match and its operation (both None where nothing limits it)."""

    transaction: Transaction
    parts: tuple[tuple[Match | None, Op | None], ...]
    choices: tuple[Choice, ...] = ()
    """The backends in the order of the transaction's alternatives."""
    owned: tuple[tuple[int, ...], ...] = ()
    """Per alternative the parts that its operations are of."""


class Code(Enum):
    """Envoy's codes."""

    OK = 1
    OVER_LIMIT = 2


class Status(msgspec.Struct, frozen=True, gc=False):
    """One descriptor's part of a decision."""

    code: Code
    match: Match | None = None
    """None where no rule limits it."""
    op: Op | None = None
    """None where nothing was counted: no rule, unlimited or replaced."""
    remaining: int = 0
    reset_seconds: int = 0
    before: int = 0
    after: int = 0
    """The counter once the request was decided; equal to `before` where nothing was applied."""
    over: bool = False
    """Over its limit, even where shadow mode made the code OK."""
    remembered: bool = False
    """The storage remembered the counter, and did not look."""
    passed: bool = False
    """It limits a backend that the request does not begin with, because something of that backend is used up."""

    @property
    def rule(self) -> Rule | None:
        return None if self.match is None else self.match.rule


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The answer to a request; `refusal` is the status to tell the client about: of those over, the last to reset."""

    code: Code
    statuses: tuple[Status, ...]
    refusal: Status | None
    groups: steering.Groups = ()
    """The backends to try, where they are not simply all in their order."""


def plan_request(snapshot: Snapshot, request: LimitRequest, *, now: float, prefix: str = "", name: str = "") -> Plan:
    """The storage operations of `request` at `now` (Unix seconds); `prefix` is put before every key.

    `name` is the same at admission and settlement, and no other request's. Without one nothing is reserved: where it
    would be, it is only checked whether anything is left.
    """
    matches = [_match(snapshot, request.domain, each) for each in request.descriptors]
    if snapshot.replaces:
        matches = _drop_replaced(matches)
    ops: list[Op] = []
    reserves = False
    parts: list[tuple[Match | None, Op | None]] = []
    for descriptor, match in zip(request.descriptors, matches, strict=True):
        op = None
        if match is not None and match.rule.seconds:
            op = _op(match, _hits(descriptor, match.rule, request, name), now, prefix, _part(match.rule, request, name))
            if op.quota and request.backends:
                # Each backend is chosen or passed by for itself: it has nobody to refuse together with.
                op = msgspec.structs.replace(op, quota=False, refuses=True)
            ops.append(op)
            reserves = reserves or op.part is not Part.NONE
        parts.append((match, op))
    holder = f"{prefix}{HOLD}{request.domain}_{name}" if reserves else ""
    all_or_nothing, second = request.moment is Moment.ADMISSION, int(now)
    if request.backends and all_or_nothing:
        choices = steering.ordered(request.backends, name)
        limited = [
            each.entries if op is not None else () for each, (_, op) in zip(request.descriptors, parts, strict=True)
        ]
        owned = steering.owned(choices, limited)
        if any(owned):
            return _choosing(choices, owned, parts, second, holder)
    return Plan(Transaction(tuple(ops), all_or_nothing, second, holder), tuple(parts))


def plan_fetched(request: LimitRequest, answer: str, *, now: float, prefix: str = "") -> Transaction:
    """Whether a stored answer is charged for the first time: applied where it is. `answer` is its id.

    Who fetches one is told each time what it used. A bucket of one, which takes `FETCHED_SECONDS` to be full again,
    knows its own end in every storage.
    """
    stem = f"{FETCHED}{request.domain}_{answer}_"
    once = plan_bucket(stem, hits=1, amount=1, seconds=FETCHED_SECONDS, burst=1, refuses=True, now=now, prefix=prefix)
    return Transaction((once,), True, int(now))


def uncharged(settlement: LimitRequest) -> LimitRequest:
    """A settlement that only gives back what its request reserved."""
    descriptors = tuple([msgspec.structs.replace(each, hits=0) for each in settlement.descriptors])
    return msgspec.structs.replace(settlement, descriptors=descriptors, interrupted=False)


def _choosing(
    choices: tuple[Choice, ...],
    owned: tuple[tuple[int, ...], ...],
    parts: Sequence[tuple[Match | None, Op | None]],
    now: int,
    holder: str,
) -> Plan:
    """A plan that begins with the first of `choices` that has room."""
    of_backends = {index for each in owned for index in each}
    common = tuple([op for index, (_, op) in enumerate(parts) if op is not None and index not in of_backends])
    alternatives = tuple(tuple([op for index in each if (op := parts[index][1]) is not None]) for each in owned)
    return Plan(Transaction(common, True, now, holder, alternatives), tuple(parts), choices, owned)


def _part(rule: Rule, request: LimitRequest, name: str) -> Part:
    if not rule.reserve or not name:
        return Part.NONE
    if request.moment is Moment.ADMISSION:
        return Part.RESERVE
    return Part.KEEP if request.interrupted else Part.SETTLE


def _hits(descriptor: RequestDescriptor, rule: Rule, request: LimitRequest, name: str) -> int:
    if rule.reserve and not name and request.moment is Moment.ADMISSION:
        return min(descriptor.hits, 0)
    return descriptor.hits


def _op(match: Match, hits: int, now: float, prefix: str, part: Part) -> Op:
    rule = match.rule
    if rule.quota_mode and not rule.shadow_mode:
        return msgspec.structs.replace(_counting(match, hits, now, prefix, part, refuses=False), quota=True)
    return _counting(match, hits, now, prefix, part, refuses=not rule.shadow_mode)


def _counting(match: Match, hits: int, now: float, prefix: str, part: Part, *, refuses: bool) -> Op:
    rule = match.rule
    if not -COUNT_MAX <= hits <= COUNT_MAX:
        hits = COUNT_MAX if hits > 0 else -COUNT_MAX
    if rule.bounds:
        return _pooled(match, hits, int(now), prefix, part, refuses=refuses)
    lenient = part is Part.RESERVE and rule.reserve is Reserve.LENIENT
    if rule.burst:
        return plan_bucket(
            match.stem,
            hits=hits,
            amount=rule.amount,
            seconds=rule.seconds,
            burst=rule.burst,
            refuses=refuses,
            now=now,
            prefix=prefix,
            part=part,
            lenient=lenient,
            reserves=bool(rule.reserve),
        )
    second = int(now)
    return plan_window(
        match.stem,
        hits=hits,
        limit=rule.amount,
        seconds=rule.seconds,
        refuses=refuses,
        now=second,
        prefix=prefix,
        part=part,
        lenient=lenient,
        slides=rule.slides,
        reserves=bool(rule.reserve),
        bounds=window(rule.unit, rule.time_zone, second) if rule.time_zone and rule.unit else None,
    )


def _pooled(match: Match, hits: int, now: int, prefix: str, part: Part, *, refuses: bool) -> Op:
    rule = match.rule
    return plan_pooled(
        match.stem,
        hits=hits,
        limit=rule.amount,
        seconds=rule.seconds,
        bounds=rule.bounds,
        own=rule.own,
        refuses=refuses,
        now=now,
        prefix=prefix,
        part=part,
        lenient=part is Part.RESERVE and rule.reserve is Reserve.LENIENT,
        reserves=bool(rule.reserve),
    )


def _match(snapshot: Snapshot, domain: str, descriptor: RequestDescriptor) -> Match | None:
    override = descriptor.override
    if override is None:
        return match_descriptor(snapshot, domain, descriptor.entries)
    if domain not in snapshot.domains:
        return None
    key = ".".join(map("_".join, descriptor.entries))
    seconds = UNIT_SECONDS[override.unit]
    rule = Rule(
        domain=domain,
        key=key,
        unit=override.unit,
        seconds=seconds,
        amount=override.amount,
        shadow_mode=snapshot.shadow_mode,
        quota_mode=snapshot.quota_mode,
    )
    return Match(rule, counter_stem(domain, descriptor.entries), key)


def _drop_replaced(matches: list[Match | None]) -> list[Match | None]:
    replaced = {name for match in matches if match is not None for name in match.rule.replaces}
    return [None if match is not None and match.rule.name in replaced else match for match in matches]


def examine(ops: Sequence[Op], before: Sequence[int]) -> bool:
    """Whether no operation refuses (rule 2), given the counter each is examined against (rule 1)."""
    over = [over_limit(op, count) for op, count in zip(ops, before, strict=True) if op.refuses]
    return True not in over and not quotas_spent(ops, before)


def quotas_spent(ops: Sequence[Op], before: Sequence[int]) -> bool:
    """Whether there are quotas and all are over."""
    over = [over_limit(op, count) for op, count in zip(ops, before, strict=True) if op.quota]
    return bool(over) and False not in over


def decide_request(plan: Plan, outcome: Outcome) -> Decision:
    """The decision, from what the storage found."""
    if plan.choices:
        return _decide_choice(plan, outcome)
    counts, known = iter(outcome.before), iter(outcome.known)
    statuses: list[Status] = []
    refusal: Status | None = None
    for match, op in plan.parts:
        if op is None:
            unlimited = match is not None
            statuses.append(Status(Code.OK, match, remaining=REMAINING_UNLIMITED if unlimited else 0))
            continue
        status = _status(match, op, next(counts), applied=outcome.applied, now=plan.transaction.now)
        if outcome.known:
            status = _remembered(status, known=next(known))
        refusal = _later(refusal, status)
        statuses.append(status)
    if refusal is None:
        refusal = _first_quota(statuses)
    return Decision(Code.OK if refusal is None else Code.OVER_LIMIT, tuple(statuses), refusal)


def _remembered(status: Status, *, known: bool) -> Status:
    """A status as a storage tells it that did not look."""
    return msgspec.structs.replace(status, remembered=True) if known else Status(Code.OK, status.match)


def _first_quota(statuses: Sequence[Status]) -> Status | None:
    """Of quotas, if all are over, the first to reset: then one has room again."""
    quotas = [each for each in statuses if each.op is not None and each.op.quota]
    if not quotas or not all(each.over for each in quotas):
        return None
    return min(quotas, key=lambda each: each.reset_seconds)


def _decide_choice(plan: Plan, outcome: Outcome) -> Decision:
    """Likewise, where the request goes to the first backend that has room."""
    now, applied = plan.transaction.now, outcome.applied
    of_backends = {index for each in plan.owned for index in each}
    counts = iter(outcome.before)
    statuses: list[Status] = []
    refusal: Status | None = None
    for index, (match, op) in enumerate(plan.parts):
        if op is None or index in of_backends:
            statuses.append(Status(Code.OK, match, remaining=REMAINING_UNLIMITED if match is not None else 0))
            continue
        status = _status(match, op, next(counts), applied=applied, now=now)
        refusal = _later(refusal, status)
        statuses.append(status)
    full: list[Status | None] = []
    for number, (owned, befores) in enumerate(zip(plan.owned, outcome.alternatives, strict=True)):
        asked = applied and number == outcome.chosen
        worst: Status | None = None
        for index, before in zip(owned, befores, strict=True):
            match, op = plan.parts[index]
            assert op is not None
            status = _status(match, op, before, applied=asked, now=now)
            worst = _later(worst, status)
            if asked or not applied:
                statuses[index] = status
            elif status.code is Code.OVER_LIMIT and number < outcome.chosen and statuses[index].op is None:
                statuses[index] = Status(Code.OK, match, passed=True)
        full.append(worst)
    if refusal is None and not applied:
        # Whoever waits for the backend that is free first waits long enough.
        refusal = min((each for each in full if each is not None), key=lambda each: each.reset_seconds, default=None)
    if not applied:
        return Decision(Code.OVER_LIMIT, tuple(statuses), refusal)
    groups = steering.groups(plan.choices, outcome.chosen, [each is None for each in full])
    return Decision(Code.OK, tuple(statuses), None, groups)


def _later(refusal: Status | None, status: Status) -> Status | None:
    """Of those over their limit, the last to reset."""
    if (
        status.over
        and status.op is not None
        and status.op.refuses
        and (refusal is None or status.reset_seconds > refusal.reset_seconds)
    ):
        return status
    return refusal


def _status(match: Match | None, op: Op, before: int, *, applied: bool, now: int) -> Status:
    over = over_limit(op, before)
    after = counter_after(op, before) if applied else before
    # What this request reserved is its own: alone, a client reads what it would if it were only checked.
    standing = before if op.part is Part.RESERVE else after
    return Status(
        code=Code.OVER_LIMIT if over and (op.refuses or op.quota) else Code.OK,
        match=match,
        op=op,
        remaining=0 if over and op.part is not Part.RESERVE else remaining(op, standing),
        reset_seconds=_reset_seconds(op, standing, over=over, now=now),
        before=before,
        after=after,
        over=over,
    )


def _reset_seconds(op: Op, standing: int, *, over: bool, now: int) -> int:
    """Until the window ends; of a bucket, until what was refused would fit, or it is full."""
    return bucket_reset_seconds(op, standing, over=over) if isinstance(op, TokenBucketOp) else op.window_end - now
