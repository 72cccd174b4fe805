"""The rules that there are, by Gateway and name, each with a fingerprint: equal ones need no second look."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from headgate.compiler import ir
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule, and a hash of all of it but the credentials' values."""

    rule: ir.Rule
    fingerprint: str


GatewayRules = Mapping[str, KnownRule]
"""By `<ns>/<route>/rule/<i>`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`by_gateway` has `<ns>/<gateway>` as keys."""

    by_gateway: Mapping[str, GatewayRules] = field(default_factory=dict[str, GatewayRules])
    routes: frozenset[str] | None = None
    """Every AIGatewayRoute that there is, valid or not; None where nobody says."""

    def of(self, gateway: str) -> GatewayRules:
        return self.by_gateway.get(gateway, {})


def _known(rule: ir.Rule, previous: KnownRule | None) -> KnownRule:
    if previous is not None and previous.rule == rule:
        return previous
    return KnownRule(rule, sha256(repr(rule).encode()).hexdigest())


def known_rules(program: ir.Program, previous: Rules | None = None, world: World | None = None) -> Rules:
    """The AI rules of a program. `previous` saves the hashing of what did not change; `world` says what there is."""
    before = previous or Rules()
    found: defaultdict[str, dict[str, KnownRule]] = defaultdict(dict)
    for port in program.ports:
        for listener in port.listeners:
            gateway = listener.name.rpartition("/")[0]
            rules = found[gateway]
            for host in listener.hosts:
                for rule in host.rules:
                    if rule.name not in rules:
                        rules[rule.name] = _known(rule, before.of(gateway).get(rule.name))
    return Rules(dict(found), _routes(world) if world is not None else None)


def _routes(world: World) -> frozenset[str]:
    rejected = (Name(key.namespace, key.name) for key in world.rejected if key.kind == "AIGatewayRoute")
    return frozenset(map(str, (*world.ai_gateway_routes, *rejected)))
