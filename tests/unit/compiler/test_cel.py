"""Costs in CEL: what users may write, and what Envoy is given for it."""

import pytest
from headgate.compiler.cel import check_expression, formatted, lower_cost, usage_expression


@pytest.mark.parametrize(
    "expression",
    [
        "input_tokens + 4u * output_tokens",
        "model == 'gpt-4o' ? total_tokens : 2u * total_tokens",
        "backend.startsWith('default/') ? reasoning_tokens : 0u",
        "7",
        'route_name == "a/b" ? cached_input_tokens + cache_creation_input_tokens : 1u',
    ],
)
def test_accepts(expression: str) -> None:
    assert check_expression(expression) is None


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("input_tokens +", "is not a CEL expression"),
        ("1u / input_tokens", "fails on zero tokens"),
        ("tokens * 2u", "undeclared reference to 'tokens'"),
        ("model", "yields a StringType"),
        ("-1", "not a non-negative integer"),
        ("1.5", "yields a DoubleType"),
        ("(" * 500 + "1" + ")" * 500, "is nested too deeply"),
        ("", "is not a CEL expression"),
        ("".join(f"model == 'm{n}' ? {n} : " for n in range(26)) + "0", "is nested too deeply"),
        ("size(string(total_tokens))", "calls string, and Envoy has"),
        ("[1, 2].exists(each, each > 1) ? 1 : 2", "calls .exists, and Envoy has"),
        ("model.matches('(') ? 1 : 2", "no regular expression that Envoy takes"),
        ("'\u0000", "is not a CEL expression"),
    ],
)
def test_refuses(expression: str, why: str) -> None:
    assert why in (check_expression(expression) or "")


def test_replaces_variables_but_not_texts_or_members() -> None:
    found = lower_cost("model == 'total_tokens' || x.model == r'''model'''", route="a/b", overrides=())
    assert found.endswith(" == 'total_tokens' || x.model == r'''model'''")
    assert "metadata.filter_metadata['headgate'].model : ''" in found


def test_model_is_the_override_of_the_cluster_that_served() -> None:
    found = lower_cost("model", route="a/b", overrides=(("c1", "m1"), ("c2", "it's")))
    assert found == (
        "(xds.cluster_name in {'c1': 'm1', 'c2': 'it\\'s'} ? {'c1': 'm1', 'c2': 'it\\'s'}[xds.cluster_name] : "
        "('headgate' in metadata.filter_metadata && 'model' in metadata.filter_metadata['headgate'] ? "
        "metadata.filter_metadata['headgate'].model : ''))"
    )


def test_route_and_backend() -> None:
    assert lower_cost("route_name + backend", route="a/b", overrides=()) == "'a/b' + xds.cluster_name"


def test_every_count_has_a_zero() -> None:
    found = usage_expression("reasoning_tokens")
    assert found.startswith("('io.envoy.ai_gateway' in metadata.filter_metadata && 'reasoning_tokens' in")
    assert found.endswith(": 0u)")


def test_an_expression_cannot_end_the_format_command() -> None:
    found = lower_cost("(1u)% 2u", route="", overrides=())
    assert ")%" not in found
    assert formatted("1") == "%CEL(1)%"
