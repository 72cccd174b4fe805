"""How a rule serves each class of client paths: which of its backends can, by which lane, and with which script.

Thousands of rules are a few kinds: what is found here is found once for a kind, on an example of it that has nothing
but what decides (`Kind`). Whatever this module comes to read of a rule or a backend has to be there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headgate.compiler import ir, upstreams
from headgate.compiler.lanes import ClassesServed, Lane, PathClass, Speaker, classes_served, speaker_of
from headgate.compiler.lower import tracing
from headgate.compiler.lower.filters import extraction, published
from headgate.compiler.lower.upstream import KEEPER, RENAMER, UNTOUCHED, renamed, short_native, unchanged
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract import headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One class of paths of a rule, and all that its routes differ in from those of another class but for the paths:
    classes whose `Served` are equal are served alike."""

    path_class: PathClass = field(compare=False)
    lanes: tuple[Lane | None, ...]
    """Of the rule's backends that are ever asked; None for one that cannot serve the class."""
    translated: bool
    """The processor serves this class for all of them."""
    short_script: str
    """The script that is all that the backends need here, but for their host; else empty."""
    reading: bytes
    """How answers are read, serialised (`extraction.reading`)."""
    told: bytes
    """What spans are told of the class, serialised (`tracing.route_metadata`)."""


class _Manner(NamedTuple):
    """All of a backend that decides how requests are routed to it: thousands of them are a few of these."""

    speaker: Speaker
    prefix: str
    asked: bool
    edits_body: bool
    manages_headers: bool
    alone: bool
    known: bool
    include_usage: bool

    def example(self) -> ir.Backend:
        return ir.Backend(
            name="",
            service="",
            endpoints=(),
            weight=int(self.asked),
            dialect=self.speaker.dialect,
            host=self.speaker.host,
            vendor=self.speaker.vendor,
            prefix=self.prefix,
            model="another" if self.speaker.renames else "",
            forced_by="a policy" if self.speaker.forced else "",
            body_remove=("member",) if self.edits_body else (),
            managed_headers=("header",) if self.manages_headers else (),
            alone=self.alone,
            known=self.known,
            include_usage=self.include_usage,
        )


class Kind(NamedTuple):
    """All of a rule that decides how its classes of paths are served, likewise."""

    backends: tuple[_Manner, ...]
    costs: tuple[ir.Cost, ...]
    retry: upstreams.Retry | None
    names_models: bool
    """Each of its matches is for one model."""
    counts_prompts: bool

    def example(self) -> ir.Rule:
        """A rule of this kind."""
        model = ir.TextMatch(headers.MODEL, ir.MatchKind.EXACT, "model")
        return ir.Rule(
            name="",
            route="",
            ai=True,
            matches=(ir.Match(headers=(model,) if self.names_models else ()),),
            backends=tuple(each.example() for each in self.backends),
            costs=self.costs,
            retry=self.retry,
            counts_prompts=self.counts_prompts,
        )


def _manner(backend: ir.Backend) -> _Manner:
    return _Manner(
        speaker_of(backend),
        backend.prefix,
        backend.weight > 0,
        bool(backend.body_set or backend.body_remove),
        bool(backend.managed_headers),
        backend.alone,
        backend.known,
        backend.include_usage,
    )


def kind_of(rule: ir.Rule) -> Kind:
    """Rules of one kind are served alike."""
    names_models = all(map(ir.model_of, rule.matches))
    return Kind(tuple(map(_manner, rule.backends)), rule.costs, rule.retry, names_models, rule.counts_prompts)


def usable_backends(rule: ir.Rule) -> tuple[ir.Backend, ...]:
    """The backends that are ever asked."""
    return tuple(backend for backend in rule.backends if backend.weight > 0)


def classes_of(usable: Iterable[ir.Backend], options: Options) -> ClassesServed:
    """The classes that these backends serve, each with the lane of every one of them."""
    return classes_served(tuple(map(speaker_of, usable)), processor=bool(options.extproc_sockets))


def served_classes(rule: ir.Rule, options: Options) -> tuple[Served, ...]:
    """What a rule serves, class by class; a pair that nothing can serve is left out."""
    return served_by(kind_of(rule), options)


@remembered
def served_by(kind: Kind, options: Options) -> tuple[Served, ...]:
    """Likewise of all rules of a kind."""
    return tuple(each_class(kind.example(), options))


def each_class(rule: ir.Rule, options: Options) -> Iterator[Served]:
    """The same, found anew and by all that the rule is."""
    usable, traced = usable_backends(rule), options.tracing
    for path_class, lanes in classes_of(usable, options):
        backends = tuple((backend, lane) for backend, lane in zip(usable, lanes, strict=True) if lane)
        translated = all(lane is Lane.EXTPROC for _, lane in backends)
        yield Served(
            path_class=path_class,
            lanes=lanes,
            translated=translated,
            short_script=_short_script(rule, path_class, backends, options),
            reading=extraction.reading(rule, path_class, options, processor_alone=translated),
            told=b"" if traced is None else tracing.route_metadata(path_class.endpoint, traced.convention),
        )


def _short_script(
    rule: ir.Rule, path_class: PathClass, backends: Sequence[tuple[ir.Backend, Lane]], options: Options
) -> str:
    if options.envoy_gateway or options.path_root != "/":  # short scripts publish no names and know no root
        return ""
    if all(backend.alone and lane is Lane.NATIVE and unchanged(backend, path_class) for backend, lane in backends):
        return short_native(backends[0][0])  # several backends have their scripts say who serves
    if all(backend.alone and lane is Lane.NATIVE and renamed(backend, path_class) for backend, lane in backends):
        return RENAMER if all(map(ir.model_of, rule.matches)) else ""
    kept = all(lane is Lane.EXTPROC and not backend.managed_headers for backend, lane in backends)
    if kept and rule.retry is None and len(backends) == 1 and published.by_route(backends[0][0], options):
        return UNTOUCHED  # asked once; the processor tells the client's path
    return KEEPER if kept else ""
