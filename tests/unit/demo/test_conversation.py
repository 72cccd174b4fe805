"""What the demo says, calls and counts."""

import json

import pytest
from headgate.cli.demo.conversation import DemoRequest, Tool, example, pieces, reply_to

WEATHER = Tool(
    "get_weather",
    "The weather at a place",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer"},
        },
        "required": ["city", "unit", "days"],
    },
)
CLOCK = Tool("clock", "The time in a zone", {"type": "object"})


def words(text: str) -> int:
    return len(text.split())


def request(said: str = "hello", **changes: object) -> DemoRequest:
    return DemoRequest(model="m", said=said, texts=(said,), **changes)  # pyright: ignore[reportArgumentType]


def test_an_answer_says_that_it_is_a_demo_and_quotes() -> None:
    reply = reply_to(request("tell me"), words)
    assert "demo" in reply.text
    assert '"tell me"' in reply.text
    assert (reply.finish, reply.output_tokens) == ("stop", words(reply.text))


def test_a_fitting_tool_is_called_with_arguments_from_what_was_said() -> None:
    reply = reply_to(
        request("What is the weather in New York for 3 days, in fahrenheit?", tools=(WEATHER, CLOCK)), words
    )
    assert [call.name for call in reply.calls] == ["get_weather"]
    assert json.loads(reply.calls[0].arguments) == {"city": "New York", "unit": "fahrenheit", "days": 3}
    assert reply.finish == "tools"


@pytest.mark.parametrize(
    ("choice", "called"),
    [("auto", []), ("none", []), ("any", ["get_weather"]), (CLOCK, ["clock"])],
)
def test_tool_choice_forces_or_forbids(choice: object, called: list[str]) -> None:
    reply = reply_to(request("hello", tools=(WEATHER, CLOCK), tool_choice=choice), words)
    assert [call.name for call in reply.calls] == called


def test_several_fitting_tools_are_called_at_once_unless_that_is_off() -> None:
    said = "weather and time please"
    assert len(reply_to(request(said, tools=(WEATHER, CLOCK)), words).calls) == 2
    assert len(reply_to(request(said, tools=(WEATHER, CLOCK), parallel_tools=False), words).calls) == 1


def test_tool_results_are_repeated_instead_of_called_again() -> None:
    reply = reply_to(request("weather?", tools=(WEATHER,), tool_results=("22 degrees",)), words)
    assert not reply.calls
    assert "22 degrees" in reply.text


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
def test_an_answer_keeps_within_its_token_limit(limit: int) -> None:
    reply = reply_to(request(output_tokens_max=limit), words)
    assert words(reply.text) <= limit
    assert reply.finish == ("stop" if limit == 1000 else "length")


def test_an_answer_ends_before_a_stop_sequence() -> None:
    reply = reply_to(request(stops=("zzz", "provider")), words)
    assert (reply.finish, reply.stop_sequence) == ("stop_sequence", "provider")
    assert "provider" not in reply.text


def test_a_schema_is_answered_with_json_of_that_schema() -> None:
    reply = reply_to(request("For 7 people", schema=WEATHER.parameters), words)
    assert json.loads(reply.text) == {"city": "demo", "unit": "celsius", "days": 7}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["null", "boolean"]}, True),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, 1.0),
        ({"type": "array", "items": {"const": 4}}, [4]),
        ({"properties": {"a": {"default": "x"}}}, {"a": "x"}),
        ({}, "demo"),
    ],
)
def test_examples_follow_the_schema(schema: dict[str, object], expected: object) -> None:
    assert example(schema, "hello") == expected


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n c ", "{}"])
def test_pieces_make_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
