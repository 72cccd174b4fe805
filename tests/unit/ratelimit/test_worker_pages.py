"""`/limits` of several workers, as one."""

from typing import Any

from headgate.ratelimit.worker_pages import merged


def limit(rule: str, **used: int) -> dict[str, Any]:
    counters = [{"descriptor": [{"key": rule, "value": value}], "used": count} for value, count in used.items()]
    return {"asked_as": "d", "domain": "d", "rule": rule, "amount": 5, "counters": counters}


def test_every_limit_stands_once_with_the_counters_that_any_knows() -> None:
    one = {"limits": [limit("client", a=1, b=2), limit("all")], "storage_error": ""}
    other = {"limits": [limit("client", b=3, c=4), limit("new", x=1)], "storage_error": "Redis is away"}
    assert merged([one, other]) == {
        "limits": [limit("client", a=1, b=2, c=4), limit("all"), limit("new", x=1)],
        "storage_error": "Redis is away",
    }
