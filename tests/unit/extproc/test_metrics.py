"""GenAI metrics: names and labels are what dashboards of Envoy AI Gateway read."""

import pytest
from headgate.extproc.metrics import SERIES_MAX, Metrics
from headgate.extproc.upstream import Report
from headgate.llm.endpoints import endpoint_named
from headgate.llm.usage import NO_USAGE, Usage
from support.ext_proc_streams import backend


def report(
    *, model: str = "m", usage: Usage = NO_USAGE, status: int = 200, error: str = "", complete: bool = True
) -> Report:
    return Report(
        facts=backend(),
        endpoint=endpoint_named("chat-completions"),
        original_model=model,
        request_model="m2",
        response_model="m3",
        usage=usage,
        status=status,
        error=error,
        complete=complete,
    )


LABELS = (
    'gen_ai_operation_name="chat",gen_ai_provider_name="anthropic-messages",gen_ai_original_model="m",'
    'gen_ai_request_model="m2",gen_ai_response_model="m3"'
)


def test_a_request_is_timed_and_its_tokens_counted() -> None:
    metrics = Metrics()
    metrics.record(report(usage=Usage(input=10, output=4)), 0.03)
    text = metrics.render()
    assert f'gen_ai_server_request_duration_seconds_bucket{{{LABELS},error_type="",le="0.02"}} 0' in text
    assert f'gen_ai_server_request_duration_seconds_bucket{{{LABELS},error_type="",le="0.04"}} 1' in text
    assert f'gen_ai_server_request_duration_seconds_count{{{LABELS},error_type=""}} 1' in text
    assert f'gen_ai_client_token_usage_token_sum{{{LABELS},gen_ai_token_type="input"}} 10' in text
    assert f'gen_ai_client_token_usage_token_bucket{{{LABELS},gen_ai_token_type="output",le="4"}} 1' in text
    assert 'gen_ai_token_type="reasoning"' not in text  # unknown is not zero


@pytest.mark.parametrize(
    ("failed", "error_type"),
    [
        (report(status=429), "_OTHER"),
        (report(complete=False), "_OTHER"),
        (report(status=400, error="invalid_json"), "invalid_json"),
    ],
)
def test_failures_say_what_failed(failed: Report, error_type: str) -> None:
    metrics = Metrics()
    metrics.record(failed, 1)
    assert f'error_type="{error_type}"' in metrics.render()


def test_label_values_are_escaped_and_bounded() -> None:
    metrics = Metrics()
    metrics.record(report(model='a"b\\c\n'), 1)
    assert 'gen_ai_original_model="a\\"b\\\\c\\n"' in metrics.render()
    for number in range(SERIES_MAX + 5):
        metrics.record(report(model=f"m{number}"), 1)
    counts = [
        line
        for line in metrics.render().splitlines()
        if line.startswith("gen_ai_server_request_duration_seconds_count")
    ]
    assert len(counts) == SERIES_MAX + 1
    assert sum(int(line.rpartition(" ")[2]) for line in counts) == SERIES_MAX + 6
