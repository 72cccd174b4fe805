"""One meaning of usage, merged as it becomes known."""

from headgate.llm.usage import NO_USAGE, Usage


def test_merge_takes_what_is_newer_and_keeps_what_is_not_said() -> None:
    first = Usage(input=17, cached_input=4, cache_creation_input=3, output=1, total=18)

    assert first.merge(Usage(output=15)) == Usage(17, 4, 3, 15, 32)
    assert first.merge(NO_USAGE) == first
    assert NO_USAGE.merge(first) == first


def test_a_given_total_is_believed() -> None:
    assert Usage(input=1, output=1, total=2).merge(Usage(output=2, total=9)).total == 9


def test_nothing_is_counted_from_half_of_it() -> None:
    assert NO_USAGE.merge(Usage(output=5)).total is None
    assert Usage(input=0).merge(Usage(output=0)).total == 0
