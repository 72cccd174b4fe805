"""What a watcher is told: everything once, what they missed as a number, and nothing that has no place on a page."""

import msgspec
import pytest
from headgate.ledger.record import Attempt, Lane, Tokens, UsageRecord, UsageSource
from headgate.observe.feed import KEPT_MAX, Cursor, Observation, Seen
from headgate.observe.shown import TEXT_MAX, show

SECRET = "sk-of-somebody"


def record(number: int = 0, **changes: object) -> UsageRecord:
    values: dict[str, object] = {"id": f"id{number}", "request_id": f"r{number}", "started_ns": 0, **changes}
    return UsageRecord(**values)  # pyright: ignore[reportArgumentType]


def observed(count: int, *, epoch: float = 1000.0) -> Observation:
    observation = Observation(clock=lambda: epoch)
    observation.take([record(number) for number in range(count)])
    return observation


def ids(seen: Seen) -> list[str]:
    return [request.id for request in seen.requests]


def test_everything_is_told_once() -> None:
    observation = observed(3)
    first = observation.seen(Cursor())
    assert ids(first) == ["id0", "id1", "id2"]
    assert ids(observation.seen(first.cursor)) == []
    observation.take([record(3)])
    second = observation.seen(first.cursor)
    assert (ids(second), [request.number for request in second.requests]) == (["id3"], [4])


def test_who_is_slow_hears_how_many_they_missed() -> None:
    observation = observed(1)
    cursor = observation.seen(Cursor()).cursor
    observation.take([record(number) for number in range(1, KEPT_MAX + 11)])
    seen = observation.seen(cursor)
    assert (seen.missed, len(seen.requests), seen.requests[0].id) == (10, KEPT_MAX, "id11")


def test_who_comes_late_missed_nothing() -> None:
    seen = observed(KEPT_MAX + 50).seen(Cursor())
    assert (seen.missed, len(seen.requests)) == (0, KEPT_MAX)


def test_a_cursor_of_the_process_before_means_nothing() -> None:
    cursor = observed(9).seen(Cursor()).cursor
    seen = observed(2, epoch=2000.0).seen(cursor)
    assert (ids(seen), seen.missed) == (["id0", "id1"], 0)


@pytest.mark.parametrize("number", [-5, 10**9])
def test_any_cursor_is_answered(number: int) -> None:
    observation = observed(2)
    epoch = observation.seen(Cursor()).cursor.epoch
    assert len(observation.seen(Cursor(epoch=epoch, number=number)).requests) in (0, 2)


def test_it_is_read_as_it_was_written() -> None:
    observation = observed(2)
    answer = observation.answer(msgspec.json.encode(Cursor()))
    assert msgspec.json.decode(answer, type=Seen) == observation.seen(Cursor())
    assert observation.answer(b"")
    with pytest.raises(ValueError, match="int"):
        observation.answer(b'{"number": "x"}')


def test_only_what_is_meant_for_it_is_shown() -> None:
    kept = show(
        1,
        record(
            path=f"/v1beta/models/x:generateContent?key={SECRET}",
            labels=(("session", SECRET),),
            details=SECRET,
            upstream=SECRET,
            node=SECRET,
            costs=((SECRET, 1),),
            rule=SECRET,
            backend=SECRET,
            attempts=(Attempt(backend="default/a/route/r/rule/0/ref/0", status=200, upstream=SECRET),),
        ),
    )
    assert SECRET not in msgspec.json.encode(kept).decode()
    assert kept.path == "/v1beta/models/x:generateContent"


def test_what_clients_choose_is_cut() -> None:
    long = "x" * 10_000
    kept = show(1, record(original_model=long, request_id=long, client=long, path=f"/{long}", response_model=long))
    assert len(msgspec.json.encode(kept)) < 8 * TEXT_MAX


def test_it_says_what_it_was() -> None:
    kept = show(
        4,
        record(
            started_ns=1_500_000_000,
            operation="chat",
            lane=Lane.EXTPROC,
            client="alice",
            original_model="gpt",
            request_model="claude",
            status=200,
            stream=True,
            attempts=(Attempt(backend="default/a/route/r/rule/0/ref/0", status=200, duration_ms=3),),
            tokens=Tokens(input=3, cached_input=1, output=2),
            usage_source=UsageSource.REPORTED,
            cost_nanos=5,
            ttft_ms=1.5,
        ),
    )
    assert (kept.started, kept.lane, kept.usage, kept.number) == (1.5, "extproc", "reported", 4)
    assert (kept.input, kept.cached, kept.output, kept.cost_nanos, kept.ttft_ms) == (3, 1, 2, 5, 1.5)
    assert kept.attempts[0].why == "", "the gateway says that"
