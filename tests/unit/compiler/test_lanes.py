"""Classes of client paths: what routes may rely on when they join some of them."""

import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from headgate.compiler import ir
from headgate.compiler.lanes import CLASSES, TRANSLATED, PathClass
from headgate.compiler.lower.routes import Placement, rule_routes
from headgate.compiler.lower.served import served_classes
from headgate.compiler.matching import path_class_of
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.contract.metadata import SEVERAL_CLASSES
from headgate.llm.endpoints import lookup, paths
from headgate.llm.names import DialectName

OPTIONS = Options(extproc_sockets=("/x.sock",), lua_directory="/lua")
SERVED = [path.replace("{model}", "a%2Fb") for path in paths()]


def backend(dialect: DialectName, *, vendor: str = "", model: str = "") -> ir.Backend:
    return ir.Backend(
        name="ns/b/route/r/rule/0/ref/0",
        service="ns/b",
        endpoints=(ir.Endpoint("192.0.2.1", 80),),
        dialect=dialect,
        prefix="/v1",
        vendor=vendor,
        model=model,
    )


def rule(*backends: ir.Backend) -> ir.Rule:
    match = ir.Match(headers=(ir.TextMatch(headers.MODEL, ir.MatchKind.EXACT, "m"),))
    return ir.Rule(name="ns/r/rule/0", route="ns/r", ai=True, matches=(match,), backends=backends)


@pytest.mark.parametrize("path", SERVED)
def test_a_class_with_an_endpoint_holds_the_paths_at_which_the_processor_finds_it(path: str) -> None:
    endpoint = lookup(path)
    assert endpoint is not None
    own = [row for row in CLASSES if row.endpoint == endpoint.name]
    if own:
        assert path_class_of(path) is own[0]


def examples(row: PathClass) -> Iterator[str]:
    """Paths of a class with an endpoint: with and without each of its optional parts."""
    if row.kind is ir.MatchKind.EXACT:
        yield row.path
        return
    parts = re.findall(r"\([^()]*\)\?", row.path)
    for count in range(len(parts) + 1):
        for kept in combinations(range(len(parts)), count):
            text = row.path.replace("[^/]+", "a%2Fb")
            for index, part in enumerate(parts):
                text = text.replace(part, part[1:-2] if index in kept else "", 1)
            yield text


@pytest.mark.parametrize("row", [row for row in CLASSES if row.endpoint], ids=lambda row: row.name)
def test_the_processor_finds_the_endpoint_of_every_path_of_a_class(row: PathClass) -> None:
    for path in examples(row):
        assert path_class_of(path) is row
        endpoint = lookup(path)
        assert endpoint is not None
        assert endpoint.name == row.endpoint, path


OTHER_PATHS = ["/v1/models/llama3:latest", "/v1/messages/batches", "/v1/images/edits", "/v2/embed", "/model/m/invoke"]
SPOKEN = sorted(TRANSLATED)


def takes(match: RouteMatch, path: str) -> bool:
    if match.HasField("path"):
        found = path == match.path
    elif match.HasField("safe_regex"):
        found = re.fullmatch(match.safe_regex.regex, path) is not None
    elif match.HasField("path_separated_prefix"):
        found = path == match.path_separated_prefix or path.startswith(match.path_separated_prefix + "/")
    else:
        found = path.startswith(match.prefix)
    others = [header.string_match.prefix for header in match.headers if header.name == ":path"]
    return found and not any(path.startswith(prefix) for prefix in others)


@pytest.mark.parametrize("vendor", ["", "openai", "mistral"])
@pytest.mark.parametrize("dialects", [(each,) for each in SPOKEN] + [tuple(SPOKEN)], ids=str)
def test_joined_classes_take_the_paths_that_each_took_alone(dialects: tuple[DialectName, ...], vendor: str) -> None:
    found = rule(*(backend(dialect, vendor=vendor, model="other") for dialect in dialects))
    served = {each.path_class: each.translated for each in served_classes(found, OPTIONS)}
    routes = [route for route in rule_routes(found, found.matches[0], 0, OPTIONS, Placement()) if route.match]
    assert len(routes) < len(served)
    for path in [*SERVED, *OTHER_PATHS]:
        own = next((row for row in served if takes(_match_of(row), path)), None)
        taking = next((route.name for route in routes if takes(route.match, path)), None)
        assert (own is None) is (taking is None), path
        if own is not None and taking is not None:
            name = taking.removeprefix("ns/r/rule/0/").removesuffix("/match/0")
            assert name == own.name or (name == SEVERAL_CLASSES and served[own]), path


def _match_of(row: PathClass) -> RouteMatch:
    match = RouteMatch()
    match.safe_regex.regex = {
        ir.MatchKind.EXACT: row.path,
        ir.MatchKind.PREFIX: row.path.rstrip("/") + "(/.*)?",
        ir.MatchKind.REGEX: row.path,
    }[row.kind]
    if row.excludes:
        match.headers.add(name=":path").string_match.prefix = row.excludes
    return match
