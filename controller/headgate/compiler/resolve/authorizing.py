"""Authorization: what a SecurityPolicy's rules ask of a request."""

from collections.abc import Iterator, Sequence

from headgate.compiler import ir
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resolve.selecting import path_pattern
from headgate.compiler.resources import authorization, security_policy
from headgate.compiler.resources.quantities import is_address_range


def authorized(
    scope: Scope,
    policy: security_policy.SecurityPolicy,
    spec: authorization.Authorization,
    providers: Sequence[security_policy.JWTProvider],
) -> ir.Authorization | None:
    """The rules of a policy; None, reported, where one cannot be asked: without it another would decide. `providers`
    are those whose tokens are verified."""
    rules: list[ir.AuthorizationRule] = []
    whole = True
    for index, rule in enumerate(spec.rules):
        field = f"spec.authorization.rules[{index}]"
        for message, place, remedy in _wrong(providers, rule):
            scope.report.error(policy, f"{field}.{place}", message, remedy=remedy)
            whole = False
        rules.append(_rule(rule, index))
    return ir.Authorization(rules=tuple(rules), allows=spec.default_action == "Allow") if whole else None


def _wrong(
    providers: Sequence[security_policy.JWTProvider], rule: authorization.AuthorizationRule
) -> Iterator[tuple[str, str, str]]:
    """(message, field, remedy)"""
    principal = rule.principal
    if principal is None:
        yield "the rule must say who asks", "principal", "principal: {clientCIDRs: [0.0.0.0/0]}"
        return
    for number, text in enumerate(principal.client_cidrs):
        if not is_address_range(text):
            yield f"{text} is no address range", f"principal.clientCIDRs[{number}]", "like 10.0.0.0/8"
    known = [provider.name for provider in providers]
    if principal.jwt is not None and principal.jwt.provider not in known:
        message = f"no provider of spec.jwt is called {principal.jwt.provider}"
        yield message, "principal.jwt.provider", f"one of {', '.join(known)}"


def _rule(rule: authorization.AuthorizationRule, index: int) -> ir.AuthorizationRule:
    principal = rule.principal or authorization.Principal()
    operation = rule.operation or authorization.Operation()
    jwt = principal.jwt
    return ir.AuthorizationRule(
        name=rule.name or str(index),
        allows=rule.action == "Allow",
        methods=operation.methods,
        path=path_pattern(operation.path) if operation.path is not None else "",
        path_inverted=operation.path is not None and operation.path.invert,
        ranges=principal.client_cidrs,
        headers=tuple((header.name.lower(), header.values) for header in principal.headers),
        provider=jwt.provider if jwt is not None else "",
        claims=tuple(_claim(claim) for claim in jwt.claims) if jwt is not None else (),
        scopes=jwt.scopes if jwt is not None else (),
    )


def _claim(claim: authorization.JWTClaim) -> ir.Claim:
    return ir.Claim(path=tuple(claim.name.split(".")), values=claim.values, listed=claim.value_type == "StringArray")
