"""Costs: from the CEL that users write to the CEL that Envoy evaluates.

Users write over `model`, `backend`, `route_name` (strings) and token counts (uint), the variables that Envoy AI Gateway
documents for LLMRequestCost. Envoy evaluates expressions over its attributes, so each variable becomes the expression
that yields it:

* token counts from what the processor or a script published, which they do even for a stream that broke off;
* `backend` is the cluster's name, `model` the override of the cluster that served, else the client's model.

Every count reads 0 where it is unknown: an expression that yields nothing would silently drop a charge.
"""

import re
from collections.abc import Mapping, Sequence

from headgate.compiler.resources.cel_syntax import cel_problem, recursion_kept
from headgate.compiler.resources.rate_limits import HITS_MAX
from headgate.contract import metadata

VARIABLES = ("model", "backend", "route_name", *metadata.USAGE_KEYS)

TYPES: Mapping[str, str] = {
    "InputToken": metadata.INPUT_TOKENS,
    "CachedInputToken": metadata.CACHED_INPUT_TOKENS,
    "CacheCreationInputToken": metadata.CACHE_CREATION_INPUT_TOKENS,
    "OutputToken": metadata.OUTPUT_TOKENS,
    "TotalToken": metadata.TOTAL_TOKENS,
    "ReasoningToken": metadata.REASONING_TOKENS,
}
"""LLMRequestCost.type to the expression it stands for."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(
    r"""(?P<text>[rRbB]{0,2}(?:'''[\s\S]*?'''|\"\"\"[\s\S]*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))"""
    r"""|(?P<member>\.\s*[A-Za-z_]\w*)|(?P<name>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)"""
)
_PUBLISHED = f"metadata.filter_metadata['{metadata.NAMESPACE}']"
_HAS_PUBLISHED = f"'{metadata.NAMESPACE}' in metadata.filter_metadata"


_ESTIMATED = (
    f"{_HAS_PUBLISHED} && '{metadata.USAGE_SOURCE}' in {_PUBLISHED}"
    f" && {_PUBLISHED}['{metadata.USAGE_SOURCE}'] == '{metadata.USAGE_ESTIMATED}'"
)


_INTERNAL = f"metadata.filter_metadata['{metadata.INTERNAL}']"
_HAS_INTERNAL = f"'{metadata.INTERNAL}' in metadata.filter_metadata"
_PROMPT_BYTES = (
    f"uint({_HAS_INTERNAL} && '{metadata.INTERNAL_TEXT_BYTES}' in {_INTERNAL}"
    f" ? {_INTERNAL}['{metadata.INTERNAL_TEXT_BYTES}'] : request.size) / 4u + 1u"
)


def usage_expression(key: str) -> str:
    """Envoy's CEL for one of `metadata.USAGE_KEYS`, a uint. A script that estimates an answer does not see its
    prompt."""
    otherwise = "0u"
    if key == metadata.INPUT_TOKENS:
        otherwise = f"({_ESTIMATED} ? {_PROMPT_BYTES} : {otherwise})"
    elif key == metadata.TOTAL_TOKENS:
        written = f"uint({_PUBLISHED}['{metadata.OUTPUT_TOKENS}'])"
        otherwise = f"({_ESTIMATED} ? {written} + {_PROMPT_BYTES} : {otherwise})"
    return f"({_HAS_PUBLISHED} && '{key}' in {_PUBLISHED} ? uint({_PUBLISHED}['{key}']) : {otherwise})"


def quoted(text: str) -> str:
    """A text as CEL writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped) + "'"


def _model_expression(overrides: Sequence[tuple[str, str]]) -> str:
    known = f"{_HAS_INTERNAL} && '{metadata.INTERNAL_MODEL}' in {_INTERNAL}"
    expression = f"({known} ? {_INTERNAL}.{metadata.INTERNAL_MODEL} : '')"
    if not overrides:
        return expression
    # a table: Envoy takes nothing that is nested deeper than 32
    table = ", ".join(f"{quoted(cluster)}: {quoted(model)}" for cluster, model in overrides)
    return f"(xds.cluster_name in {{{table}}} ? {{{table}}}[xds.cluster_name] : {expression})"


def lower_cost(expression: str, *, route: str, overrides: Sequence[tuple[str, str]]) -> str:
    """Envoy's CEL for a cost; `overrides` are (cluster, model) of the rule's backends that override the model."""

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name in metadata.USAGE_KEYS:
            return usage_expression(name)
        if name == "model":
            return _model_expression(overrides)
        if name == "backend":
            return "xds.cluster_name"
        if name == "route_name":
            return quoted(route)
        return match.group()

    # Envoy's format parser ends a command at ")%".
    return _TOKEN.sub(replace, expression).replace(")%", ") %")


def prompt_estimate(*, counted: bool) -> str:
    """Envoy's CEL for a prompt's tokens before they are served: those `counted`, else a quarter of the body's bytes."""
    if not counted:
        return f"({_PROMPT_BYTES})"
    key = metadata.PROMPT_TOKENS
    return f"({_HAS_PUBLISHED} && '{key}' in {_PUBLISHED} ? uint({_PUBLISHED}['{key}']) : {_PROMPT_BYTES})"


def output_estimate(default: int) -> str:
    """Envoy's CEL for the most tokens that a request may be answered with: what it says itself, else `default` for
    each answer that it asks for."""
    known = f"{_HAS_INTERNAL} && '{metadata.INTERNAL_MAX_TOKENS}' in {_INTERNAL}"
    otherwise = f"{default}u"
    if default:
        several = f"{_HAS_INTERNAL} && '{metadata.INTERNAL_CHOICES}' in {_INTERNAL}"
        choices = f"uint({_INTERNAL}['{metadata.INTERNAL_CHOICES}'])"
        most = f"({choices} > {ESTIMATE_MAX // default}u ? {ESTIMATE_MAX}u : {choices} * {default}u)"
        otherwise = f"({several} ? {most} : {default}u)"
    return f"({known} ? uint({_INTERNAL}['{metadata.INTERNAL_MAX_TOKENS}']) : {otherwise})"


ESTIMATE_MAX = 100_000_000
"""Tokens that a request may say it may be answered with; more, or less than none, counts as this (`request.lua`)."""


def lower_estimate(expression: str, *, route: str, backend: str, model: str, output_default: int, counted: bool) -> str:
    """Envoy's CEL for what a cost may come to, before a request is served: by `backend`, under its name `model`.
    `counted` says whether prompts are."""
    prompt, output = prompt_estimate(counted=counted), output_estimate(output_default)
    counts = {
        metadata.INPUT_TOKENS: prompt,
        metadata.OUTPUT_TOKENS: output,
        metadata.TOTAL_TOKENS: f"({prompt} + {output})",
    }

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name in metadata.USAGE_KEYS:
            return counts.get(name, "0u")
        if name == "model":
            return quoted(model) if model else _model_expression(())
        if name == "backend":
            return quoted(backend)
        if name == "route_name":
            return quoted(route)
        return match.group()

    lowered = _TOKEN.sub(replace, expression)
    if expression not in metadata.USAGE_KEYS:  # a sum of tokens cannot come to as much
        lowered = f"(int({lowered}) > {HITS_MAX} ? {HITS_MAX} : int({lowered}))"
    return lowered.replace(")%", ") %")


def formatted(expression: str) -> str:
    """The expression as an Envoy substitution format."""
    return f"%CEL({expression})%"


def check_expression(expression: str) -> str | None:
    """What is wrong with a user's cost expression, or None: it is compiled and run once with zero counts."""
    problem = cel_problem(expression) or cel_problem(_deepest(expression))
    if problem:
        return problem
    with recursion_kept():
        return _evaluate(expression)


def _deepest(expression: str) -> str:
    """The expression as Envoy is given it, where most is put around it."""
    lowered = lower_cost(expression, route="", overrides=(("", ""),))
    return f"(int({lowered}) > 0 ? 0 : int({lowered}))"


def _evaluate(expression: str) -> str | None:
    import celpy  # slow to import, and only routes with CEL costs need it
    from celpy import celtypes
    from celpy.evaluation import CELEvalError

    try:
        environment = celpy.Environment()
        program = environment.program(environment.compile(expression))  # pyright: ignore[reportUnknownMemberType]
        values = {name: celtypes.StringType("dummy") for name in ("model", "backend", "route_name")}
        counts = {key: celtypes.UintType(0) for key in metadata.USAGE_KEYS}
        result = program.evaluate({**values, **counts})
    except RecursionError:
        return "is nested too deeply"
    except CELEvalError as error:
        why = str(error.args[0]).partition(" (in activation")[0]
        return f"fails on zero tokens: {why}; the variables are {', '.join(VARIABLES)}"
    if isinstance(result, celtypes.UintType) or (isinstance(result, celtypes.IntType) and result >= 0):
        return None
    return f"yields a {type(result).__name__}, not a non-negative integer"
