"""What is said of requests that were let in without being checked."""

from headgate.cli.unchecked import let_in


def test_only_what_is_new_is_told() -> None:
    assert let_in({}, {"a": 2, "b": 0}) == 2
    assert let_in({"a": 2, "b": 0}, {"a": 2, "b": 3}) == 3
    assert let_in({"a": 2}, {"a": 2}) == 0


def test_a_counter_that_fell_began_anew() -> None:
    assert let_in({"a": 7, "b": 1}, {"a": 2}) == 2
