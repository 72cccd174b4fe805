"""Sliding windows, alike in every storage, next to an oracle that keeps the hits of each window."""

import random

from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.engine import Transaction
from headgate.ratelimit.storages import Storage

SECONDS = 60
LIMIT = 100
START = 1_700_000_000 // SECONDS * SECONDS


async def ask(storage: Storage, hits: int, now: int, *, key: str = "k_") -> tuple[int, bool]:
    op = plan_window(key, hits=hits, limit=LIMIT, seconds=SECONDS, refuses=True, now=now, slides=True)
    outcome = await storage.run(Transaction((op,), all_or_nothing=True, now=now))
    return outcome.before[0], outcome.applied


async def test_the_end_of_a_window_is_no_fresh_start(storage: Storage) -> None:
    assert await ask(storage, 100, START + 59) == (0, True)
    assert await ask(storage, 1, START + 60) == (100, False)
    assert await ask(storage, 50, START + 90) == (50, True)
    assert await ask(storage, 1, START + 90) == (100, False)
    assert await ask(storage, 0, START + 120) == (50, True)
    assert await ask(storage, 0, START + 180) == (0, True)


async def test_agrees_with_an_oracle(storage: Storage) -> None:
    chosen = random.Random(4)
    windows: dict[int, int] = {}
    now = START
    for _ in range(1500):
        now += chosen.choice((0, 1, 2, 7))
        hits = chosen.choice((0, 1, 3, 20))
        number = now // SECONDS
        rest = int(windows.get(number - 1, 0) * (((number + 1) * SECONDS - now) * 1_000_000 // SECONDS / 1_000_000))
        standing = windows.get(number, 0) + rest
        over = standing >= LIMIT if hits == 0 else standing + hits > LIMIT
        assert await ask(storage, hits, now) == (standing, not over)
        if not over:
            windows[number] = windows.get(number, 0) + hits


async def test_a_reservation_in_a_window_that_slid_on_is_given_back_there(storage: Storage) -> None:
    def named(hits: int, part: Part, now: int) -> Transaction:
        op = plan_window("r_", hits=hits, limit=LIMIT, seconds=SECONDS, refuses=True, now=now, part=part, slides=True)
        return Transaction((op,), all_or_nothing=part is Part.RESERVE, now=now, request="r")

    assert (await storage.run(named(100, Part.RESERVE, START))).applied
    later = START + 75
    assert await ask(storage, 0, later, key="r_") == (75, True)
    await storage.run(named(20, Part.SETTLE, later))
    assert await ask(storage, 0, later, key="r_") == (15, True)
