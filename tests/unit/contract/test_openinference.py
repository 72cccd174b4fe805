"""What OpenInference's variables hide."""

import pytest
from headgate.contract.openinference import NOTHING_HIDDEN, Hiding, hiding, notes

CONVENTION = {"AI_GATEWAY_TRACING_SEMCONV": "openinference"}
CAPTURED = {**CONVENTION, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("HIDE_INPUTS", "true", Hiding(inputs=True)),
        ("HIDE_INPUTS", "TRUE", Hiding(inputs=True)),
        ("HIDE_INPUTS", "false", NOTHING_HIDDEN),
        ("HIDE_INPUTS", "", NOTHING_HIDDEN),
        ("HIDE_INPUT_MESSAGES", "true", Hiding(inputs=True)),
        ("HIDE_OUTPUTS", "1", Hiding(outputs=True)),
        ("HIDE_OUTPUT_MESSAGES", "true", Hiding(outputs=True)),
        ("HIDE_INPUT_TEXT", "true", Hiding(input_text=True)),
        ("HIDE_OUTPUT_TEXT", "true", Hiding(output_text=True)),
        ("HIDE_INPUT_IMAGES", "true", Hiding(input_images=True)),
        ("HIDE_LLM_INVOCATION_PARAMETERS", "true", Hiding(parameters=True)),
        ("HIDE_EMBEDDINGS_VECTORS", "true", NOTHING_HIDDEN),
        ("BASE64_IMAGE_MAX_LENGTH", "32000", Hiding(image_length_max=32_000)),
    ],
)
def test_what_a_variable_hides(name: str, value: str, hidden: Hiding) -> None:
    environment = {**CAPTURED, f"OPENINFERENCE_{name}": value}
    assert hiding(environment) == hidden
    assert not list(notes(environment))


@pytest.mark.parametrize(
    ("name", "value", "hidden", "told"),
    [
        ("HIDE_INPUTS", "ja", Hiding(inputs=True), "OPENINFERENCE_HIDE_INPUTS=ja is not read: true or false"),
        ("BASE64_IMAGE_MAX_LENGTH", "-1", NOTHING_HIDDEN, "a whole number"),
        ("HIDE_ALL", "true", NOTHING_HIDDEN, "OPENINFERENCE_HIDE_ALL is not known"),
    ],
)
def test_what_is_not_understood_is_said(name: str, value: str, hidden: Hiding, told: str) -> None:
    environment = {**CAPTURED, f"OPENINFERENCE_{name}": value}
    assert hiding(environment) == hidden
    (note,) = notes(environment)
    assert told in note


@pytest.mark.parametrize("environment", [{}, CONVENTION, {"AI_GATEWAY_TRACING_SEMCONV": "gen_ai"}])
def test_where_they_do_not_count_is_said(environment: dict[str, str]) -> None:
    (note,) = notes({**environment, "OPENINFERENCE_HIDE_INPUTS": "true"})
    assert "OPENINFERENCE_HIDE_INPUTS not read" in note
    assert "AI_GATEWAY_TRACING_SEMCONV=openinference" in note


def test_others_names_hide_nothing() -> None:
    assert hiding({"OPENINFERENCE_HIDE_INPUTS": "true"}) == NOTHING_HIDDEN
