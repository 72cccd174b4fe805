"""Metrics of several processes, as those of one."""

from headgate.ratelimit.metrics import Metrics
from headgate.ratelimit.summed_metrics import Sums
from headgate.runtime.metrics import Registry


def page(hits: int, *, waiting: int = 0, seconds: float = 0.25, client: str = "a") -> str:
    return (
        f'# TYPE hits counter\nhits{{client="{client}"}} {hits}\n# TYPE waiting gauge\nwaiting {waiting}\n'
        f'# HELP took How long.\n# TYPE took histogram\ntook_bucket{{le="1"}} {hits}\ntook_sum {seconds}\n'
    )


def values(text: str) -> dict[str, float]:
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def test_all_are_added_and_a_family_stands_once() -> None:
    text = Sums().text({1: page(2**53, waiting=1), 2: page(3, waiting=4), 3: page(5, client="b c")})
    assert text.splitlines() == [
        "# TYPE hits counter",
        f'hits{{client="a"}} {2**53 + 3}',
        'hits{client="b c"} 5',
        "# TYPE waiting gauge",
        "waiting 5",
        "# HELP took How long.",
        "# TYPE took histogram",
        f'took_bucket{{le="1"}} {2**53 + 8}',
        "took_sum 0.75",
    ]


def test_one_that_does_not_answer_costs_what_is_now_and_nothing_that_was() -> None:
    sums = Sums()
    sums.text({1: page(2, waiting=7), 2: page(3, waiting=1)})
    found = values(sums.text({1: None, 2: page(4, waiting=1)}))
    assert (found['hits{client="a"}'], found["waiting"], found["took_sum"]) == (6, 1, 0.5)
    assert values(sums.text({1: page(9), 2: page(4)}))['hits{client="a"}'] == 13


def test_what_one_had_counted_stays_when_another_takes_its_place() -> None:
    sums = Sums()
    sums.text({1: page(20, waiting=7), 2: page(3)})
    found = values(sums.text({3: page(1, waiting=1), 2: page(3)}))
    assert (found['hits{client="a"}'], found["waiting"]) == (24, 1)
    assert values(sums.text({4: None, 2: page(3)}))['hits{client="a"}'] == 24
    assert values(sums.text({}))['hits{client="a"}'] == 24


def test_what_all_tell_of_the_same_thing_is_told_once() -> None:
    sums = Sums(shared=("waiting",))
    assert values(sums.text({1: page(2, waiting=7), 2: page(3, waiting=6)}))["waiting"] == 7
    assert values(sums.text({1: None, 2: page(3, waiting=6)}))["waiting"] == 6


def test_what_is_kept_of_those_gone_is_bounded() -> None:
    sums = Sums(gone_series_max=4)
    for process in range(10):
        sums.text({process: page(1, client=str(process))})
    found = values(sums.text({10: page(1)}))
    assert [name for name in found if name.startswith("hits")] == [
        'hits{client="a"}',
        'hits{client="0"}',
        'hits{client="1"}',
    ]
    assert found["took_sum"] == 11 * 0.25


def test_one_process_is_told_as_it_tells_itself() -> None:
    metrics, registry = Metrics(), Registry()
    metrics.rule("d", 'a"b # c').total_hits = 3
    metrics.took(0.3)
    registry.counter("headgate.some", "Some # words.", ("of",)).at("x y").value = 2.5
    text = metrics.text() + registry.text()
    assert Sums().text({1: text}) == text
