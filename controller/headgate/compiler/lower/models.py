"""What clients are told of the models there are: lists in every dialect, and each model alone.

A list is a direct response. So is a model alone, in OpenAI's words and Anthropic's: with many models they were a fifth
of what Envoy makes anew when any of them changes. So where nothing else could be got at such a path, one route and a
script (`model.lua`) answer for all; and to Google's clients wherever the listener has that script.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteMatch
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from headgate.compiler import ir
from headgate.compiler.lower.filters import extraction
from headgate.compiler.lower.patterns import either
from headgate.compiler.lower.replies import NOTHING_THERE, direct, listed, refuse, refuse_method
from headgate.compiler.lower.routes import path_under, pattern_under
from headgate.compiler.lower.wire import regex
from headgate.compiler.remembered import remembered
from headgate.contract import headers

_GET = HeaderMatcher(name=":method", string_match=StringMatcher(safe_regex=regex("GET|HEAD")))
_ANTHROPIC = HeaderMatcher(name="anthropic-version", present_match=True)
_GOOGLE = HeaderMatcher(name="x-goog-api-client", present_match=True)
"""Sent by Google's SDKs, which ask for `/v1/models` too."""
MODELS = "/v1/models"
ANTHROPIC_MODELS = f"/anthropic{MODELS}"
_NAME = "headgate/models"
_NO_MODEL = f"{NOTHING_THERE} GET /v1/models lists what there is."
_PATH_SAFE = "/!$&'()*+,;=:@~"
"""What a path may have as it is, beside letters, digits, `-`, `.` and `_` (RFC 3986)."""

Model = tuple[str, str, int]
"""(id, owner, created in Unix seconds)"""


def models_of(rules: Iterable[ir.Rule]) -> list[Model]:
    """Every model that an Exact match on the model header names, sorted."""
    found: dict[str, Model] = {}
    for rule in rules:
        for match in rule.matches:
            for header in match.headers:
                if header.name == headers.MODEL and header.kind is ir.MatchKind.EXACT:
                    found.setdefault(header.value, (header.value, rule.owned_by, rule.models_created))
    return [found[name] for name in sorted(found)]


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@remembered
def _openai_model(model: Model) -> str:
    name, owner, created = model
    return _text({"id": name, "created": created, "object": "model", "owned_by": owner})


@remembered
def _anthropic_model(model: Model) -> str:
    name, _, created = model
    return _text({"id": name, "type": "model", "display_name": name, "created_at": _moment(created)})


def _moment(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@remembered
def _line(model: Model) -> str:
    """Of the text that the script looks models up in: JSON, so that no name has a tab or an end of line."""
    name, owner, created = model
    return f"{_text(name)}\t{_text(owner)}\t{created}\t{_text(_moment(created))}\n"


@remembered
def _named(model: Model) -> str:
    """Likewise where the script tells of nothing but names."""
    return f"{_text(model[0])}\t\n"


def _openai_list(models: Sequence[Model]) -> str:
    return f'{{"data":[{",".join(map(_openai_model, models))}],"object":"list"}}'


def _anthropic_list(models: Sequence[Model]) -> str:
    ends = f',"first_id":{_text(models[0][0])},"last_id":{_text(models[-1][0])}' if models else ""
    return f'{{"data":[{",".join(map(_anthropic_model, models))}],"has_more":false{ends}}}'


def _both(below: str, root: str, openai: str, spoken: str) -> tuple[bytes, bytes]:
    """What is answered below `MODELS`, in both dialects (`anthropic-version` asks for Anthropic's), and below
    `ANTHROPIC_MODELS`."""
    path = path_under(f"{MODELS}{below}", root)
    own = (
        direct(_NAME, RouteMatch(path=path, headers=[_GET, _ANTHROPIC]), 200, spoken),
        direct(_NAME, RouteMatch(path=path, headers=[_GET]), 200, openai),
    )
    match = RouteMatch(path=path_under(f"{ANTHROPIC_MODELS}{below}", root), headers=[_GET])
    return listed(own), listed([direct(_NAME, match, 200, spoken)])


@remembered
def _one_model(model: Model, root: str) -> tuple[bytes, bytes]:
    """A name is asked for as it is and, where that differs, as clients write it into a path: with all escaped that may
    not stand there, or all that need not. (Envoy turns an escaped slash into one.)"""
    told = _openai_model(model), _anthropic_model(model)
    spelled = dict.fromkeys((model[0], quote(model[0], safe=_PATH_SAFE), quote(model[0])))
    own, spoken = zip(*(_both(f"/{name}", root, *told) for name in spelled), strict=True)
    return b"".join(own), b"".join(spoken)


@remembered
def _google_model(model: Model) -> str:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return _text({"name": f"models/{model[0]}", "supportedGenerationMethods": methods})


def _google_list(models: Sequence[Model]) -> str:
    return f'{{"models":[{",".join(map(_google_model, models))}]}}'


@remembered
def _cohere_model(model: Model) -> str:
    return _text({"name": model[0], "endpoints": ["chat"]})


def _cohere_list(models: Sequence[Model]) -> str:
    return f'{{"models":[{",".join(map(_cohere_model, models))}]}}'


@remembered
def _bedrock_model(model: Model) -> str:
    name, owner, _ = model
    return _text({"modelId": name, "modelName": name, "providerName": owner, "responseStreamingSupported": True})


def _bedrock_list(models: Sequence[Model]) -> str:
    return f'{{"modelSummaries":[{",".join(map(_bedrock_model, models))}]}}'


_GOOGLE_PATHS = ("/v1beta/models", "/gemini/v1beta/models", "/gemini/v1/models")
_OTHER_LISTS = (
    (("/cohere/v1/models",), _cohere_list),
    (("/foundation-models", "/bedrock/foundation-models"), _bedrock_list),
)
"""Lists in the words of Cohere's and AWS's clients, and where those ask. Of one model alone nothing is told, which with
many models is most of what lists weigh: so these few stand before what else is got."""


def _listed_at(paths: Sequence[str], root: str, text: str, asking: Sequence[HeaderMatcher] = (_GET,)) -> Route:
    """The same list at several paths, as one route: with 1,000 models it has 100 KB."""
    match = RouteMatch(headers=asking)
    if len(paths) == 1:
        match.path = path_under(paths[0], root)
    else:
        match.safe_regex.CopyFrom(regex(pattern_under(either(tuple(paths)), root)))
    return direct(_NAME, match, 200, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Routes for what is got, as `replies.listed` gives them, by what paths begin with."""

    first: Mapping[str, Sequence[bytes]]
    """Tried before everything else."""
    last: Mapping[str, bytes]
    """Tried when nothing else took it."""


def models_listed(rules: Iterable[ir.Rule], root: str, *, alone: bool, scripted: bool) -> Listing:
    """`GET /v1/models`, `/v1/models/{id}`, other dialects. `alone` says that nothing else could be got there,
    `scripted` that the listener has the script."""
    models = models_of(rules)
    paths = (path_under(MODELS, root), path_under(ANTHROPIC_MODELS, root))
    found = [_both("", root, _openai_list(models), _anthropic_list(models))]
    if not alone:
        found += [_one_model(model, root) for model in models]
    names = "".join(map(_named, models)) if scripted else ""
    text = _google_list(models)
    google = _to_google((MODELS,), text, names, root, (_GET, _GOOGLE))
    first = {paths[0]: [google, *(own for own, _ in found)], paths[1]: [each for _, each in found]}
    others = listed(_listed_at(paths_of, root, write(models)) for paths_of, write in _OTHER_LISTS)
    first["/"] = [_to_google(_GOOGLE_PATHS, text, names, root, (_GET,)), others]
    last: dict[str, bytes] = {}
    if alone and models:
        lines = "".join(map(_line, models))
        words = {paths[0]: "", paths[1]: "anthropic"}
        last = {path: listed([_by_script(path, lines, words[path])]) for path in paths}
    return Listing(first=first, last=last)


def _to_google(paths: Sequence[str], text: str, names: str, root: str, asking: Sequence[HeaderMatcher]) -> bytes:
    """The list in Google's words and, of these names, each model alone."""
    routes = [_listed_at(paths, root, text, asking)]
    if names:
        routes += [_by_script(path_under(path, root), names, "google", asking) for path in paths]
    return listed(routes)


def _by_script(path: str, models: str, words: str, asking: Sequence[HeaderMatcher] = (_GET,)) -> Route:
    """Each model alone, below a path of lists; `models` and `words` as `model.lua` reads them."""
    route = refuse(_NAME, 404, _NO_MODEL, RouteMatch(prefix=f"{path}/", headers=asking))
    route.typed_per_filter_config[extraction.USAGE_SCRIPT].CopyFrom(
        extraction.told_of_models(f"{path}/", models, words=words)
    )
    return route


def models_not_allowed(root: str) -> list[Route]:
    """Other methods; to be tried after these."""
    paths = (MODELS, ANTHROPIC_MODELS)
    return [
        refuse_method("headgate/models/method", RouteMatch(path=path_under(path, root)), "GET, HEAD") for path in paths
    ]
