"""`compile_world`: the whole compiler as one pure function.

    World ── resolve/ ──> ir.Program ── lower/ ──> xDS, files, limits
                 └──> diagnostics, statuses

It changes nothing, asks nobody, and gives equal output for objects in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.compiler import ir
from headgate.compiler.conditions import Diagnostic, ObjectStatus, Told
from headgate.compiler.exchanges import Exchange
from headgate.compiler.lower.limits import limit_rules
from headgate.compiler.lower.program import Lowered, Resources, lower_program
from headgate.compiler.lower.ratelimit import limits_text
from headgate.compiler.options import Options
from headgate.compiler.remembered import settle
from headgate.compiler.resolve.credentials import wanted_exchanges
from headgate.compiler.resolve.gateways import program
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.statuses.table import object_statuses
from headgate.compiler.world import World
from headgate.contract.secret import Secret


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a world becomes."""

    program: ir.Program
    """What was understood: for `headgate explain`."""
    resources: Resources
    """xDS: type URL to name to message; none beside Envoy Gateway, which asks for its own (`envoy_gateway/`).

    Messages are shared between compilations and must not be changed.
    """
    files: Mapping[str, Secret]
    """Files that Envoy reads, by name below `Options.secrets_directory`."""
    limits: str
    """The rate limit service's configuration (YAML); empty without limits."""
    diagnostics: tuple[Diagnostic, ...]
    scope: Scope = field(compare=False)
    """The world that this is of, with its indexes: for outlets that make more of it."""
    exchanges: tuple[Exchange, ...] = ()
    """Credentials that the controller has to fetch and keep fresh."""
    told: Told = field(default_factory=lambda: Told(tuple), compare=False)

    @property
    def statuses(self) -> tuple[ObjectStatus, ...]:
        """One for each object that is ours to report on (`Options.mode`), by key. The first look at them costs a fifth
        of a compilation."""
        return self.told()


def compile_world(world: World, options: Options) -> Compiled:
    """Compiles everything; an object that is broken is reported and costs only itself."""
    scope = Scope(world, options)
    resolved = program(scope)
    lowered = Lowered({}, {}) if options.envoy_gateway else lower_program(resolved, options)
    exchanges = tuple(wanted_exchanges(scope))
    settle()
    return Compiled(
        program=resolved,
        resources=lowered.resources,
        files=lowered.files,
        limits=limits_text(limit_rules(resolved)),
        exchanges=exchanges,
        diagnostics=scope.report.diagnostics(),
        scope=scope,
        told=Told(lambda: object_statuses(scope, resolved)),
    )
