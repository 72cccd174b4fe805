"""How the commands put parts of the IR into words."""

from collections.abc import Iterator, Mapping
from typing import Final

from headgate.compiler import answers, ir, upstreams
from headgate.compiler.lanes import PathClass
from headgate.contract.addresses import host_port
from headgate.llm.names import HostName


def where(backend: ir.Backend) -> str:
    """A backend: what it is, at which address, what it speaks."""
    host = f" on {backend.host}" if backend.host is not HostName.DIRECT else ""
    spoken = f", {backend.dialect}{host}" if backend.dialect is not None else ""
    proxy = "" if backend.proxy is None else f", through the proxy at {_host_port(backend.proxy)}"
    return f"{backend.service} at {backend.authority}{spoken}{proxy}"


def _host_port(endpoint: ir.Endpoint) -> str:
    return host_port(endpoint.address, endpoint.port)


def match(match: ir.Match) -> str:
    """What a request must have."""
    parts = [f"{header.name}{_sign(header)}{header.value}" for header in match.headers]
    parts += [f"?{query.name}{_sign(query)}{query.value}" for query in match.queries]
    if match.method:
        parts.insert(0, match.method)
    if match.path != "/" or not parts:
        parts.insert(0, f"path {match.path_kind} {match.path}")
    return " and ".join(parts)


def _sign(text: ir.TextMatch) -> str:
    return "~" if text.kind is ir.MatchKind.REGEX else "="


def path(path_class: PathClass) -> str:
    """A class of paths."""
    if path_class.paths:
        return path_class.paths[0]
    if path_class.kind is ir.MatchKind.PREFIX:
        return f"{path_class.path} and below"
    return f"others of {path_class.dialect}"


_SOURCES: Final[Mapping[str, str]] = {
    "model": "model",
    "client": "client",
    "remote_address": "client address",
    "range": "client address",
}


def limit(limit: ir.LimitRule) -> str:
    """A limit: how much for whom, and what a request adds."""
    charged = "" if limit.response_amount is None else f", then {limit.response_amount} when it is done"
    shadow = " (shadow)" if limit.shadow else ""
    what = "$" if limit.what == "usd" else f" {limit.what}" if limit.what else ""
    amount = f"${limit.requests / 1_000_000:.6g}" if what == "$" else f"{limit.requests}{what}"
    window = "in all" if limit.unit == "LIFETIME" else f"per {'sliding ' if limit.slides else ''}{limit.unit.lower()}"
    amount = f"{amount} {window}"
    if limit.pools:
        shares = ", ".join(f"{each.name} {each.minimum}-{each.maximum}%" for each in limit.pools)
        amount += f" for pool {limit.pool or '(none)'} of {shares}"
    amount += f" of {limit.time_zone}" if limit.time_zone else ""
    amount += f", at most {limit.burst} at once" if limit.burst else ""
    amount += f", warns at {', '.join(f'{each}%' for each in limit.warn_at)}" if limit.warn_at else ""
    return f"{amount} for {_who(limit)}; a request adds {limit.request_amount}{charged}{shadow}"


def local_limit(limit: ir.LocalLimit) -> str:
    """A limit that each Envoy keeps for itself."""
    shadow = " (shadow)" if limit.shadow else ""
    return f"{limit.requests} in {limit.unit_seconds} s for {_selected(limit)}{shadow}"


def _selected(limit: ir.LimitRule | ir.LocalLimit) -> str:
    who = ", ".join(_selector(selector) for selector in limit.selectors if selector.source) or "all requests together"
    if limit.excluded:
        others = " or ".join(" and ".join(map(_selector, group)) for group in limit.excluded)
        who = f"{who} but {others}"
    return who


def _who(limit: ir.LimitRule) -> str:
    who = _selected(limit)
    if (backend := limit.backend) is not None:
        model = (
            f" as {backend.model}"
            if backend.model
            else f" but as {', '.join(backend.others)}"
            if backend.others
            else ""
        )
        who = f"{who} to {backend.service}{model}, else elsewhere"
    return who


def _selector(selector: ir.Selector) -> str:
    source = _SOURCES.get(selector.source, selector.source.removeprefix("header:"))
    if selector.value is None:
        return f"each {source}"
    sign = ("!" if selector.invert else "") + ("~" if selector.regex else "=")
    return f"{source}{sign}{selector.value}"


def auth(auth: ir.Auth) -> str:
    """What a client must show."""
    parts = [f"{len(auth.api_keys.keys)} API keys"] if auth.api_keys is not None else []
    parts += [f"{len(auth.basic.users)} users"] if auth.basic is not None else []
    parts += ["a service's consent"] if auth.external is not None else []
    parts += [f"JWT {provider.name}" for provider in auth.jwt]
    parts += [f"{len(auth.authorization.rules)} rules of authorization"] if auth.authorization is not None else []
    parts += ["CORS"] if auth.cors is not None else []
    return f"{', '.join(parts) or 'none'} ({auth.name})"


def hash_keys(keys: tuple[upstreams.HashKey, ...]) -> str:
    """What requests that go to one backend agree in."""
    return " and ".join("the client's address" if key.kind == "source_ip" else f"{key.kind} {key.name}" for key in keys)


def asked_of(rule: ir.Rule) -> Iterator[tuple[str, str]]:
    """What the policies of a rule ask, as (name, words)."""
    if rule.auth is not None:
        yield "authentication", auth(rule.auth)
    for mirror in rule.mirrors:
        share = "all" if mirror.share == 1 else f"{100 * mirror.share:g} %"
        yield "mirror", f"{share} of the requests to {mirror.backend.service}"
    if rule.filter_cors is not None:
        yield "CORS", ", ".join(each.value for each in rule.filter_cors.allow_origins) or "no origin"
    for each in rule.limits:
        yield f"limit {each.name}", limit(each)
    for each in rule.local_limits:
        yield f"local limit {each.name}", local_limit(each)
    for cost in rule.costs:
        yield f"cost {cost.key}", cost.expression
    if rule.hash_keys:
        yield "backends chosen by", hash_keys(rule.hash_keys)
    if rule.retry is not None:
        yield "retries", f"{rule.retry.count} on {rule.retry.on}"
    if rule.request_seconds is not None:
        yield "timeout", f"{rule.request_seconds:g} s"
    if rule.fault is not None:
        yield "faults", fault(rule.fault)
    if rule.upgrades not in ((), ("websocket",)):
        yield "upgraded to", ", ".join(rule.upgrades)
    if rule.compressors:
        yield "answers compressed", ", ".join(f"{each.kind} from {each.bytes_min} bytes" for each in rule.compressors)
    if rule.overrides:
        yield "answers replaced", "; ".join(map(override, rule.overrides))


def fault(fault: answers.Fault) -> str:
    """What is done to some requests before a backend is asked."""
    parts = [f"{fault.aborted / 10_000:g} % answered {fault.abort_status}"] if fault.aborted else []
    parts += [f"{fault.delayed / 10_000:g} % wait {fault.delay_seconds:g} s"] if fault.delayed else []
    return ", ".join(parts) or "none"


def override(override: answers.ResponseOverride) -> str:
    """Which answers are replaced, and their new status."""
    statuses = ", ".join(f"{status:x<3}" for status in override.statuses) or "any status"
    whose = {None: "", True: " of the gateway itself", False: " of backends"}[override.local]
    named = " and ".join(name for name, _ in override.headers)
    headers = f" with a certain {named}" if named else ""
    return f"{statuses}{whose}{headers} {f'become {override.status}' if override.status else 'get another body'}"
