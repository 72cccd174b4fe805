"""Answers that are replaced: what a BackendTrafficPolicy's `responseOverride` asks, and bodies that users wrote."""

from collections.abc import Iterator, Mapping
from typing import Final

from headgate.compiler import answers
from headgate.compiler.clients import TextRule
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources.envoy_gateway import CustomResponseBody
from headgate.compiler.resources.formats import format_problem
from headgate.compiler.resources.metadata import Name, Resource
from headgate.compiler.resources.policies import BackendTrafficPolicy
from headgate.compiler.resources.response_override import (
    CustomRedirect,
    CustomResponse,
    CustomResponseMatch,
    ResponseOverride,
)

BODY_KEY: Final = "response.body"
"""compat: where a ConfigMap holds the body of an answer; else its first value is one."""
_LOCAL: Final[Mapping[str, bool | None]] = {"All": None, "Local": True, "Backend": False}


def written_body(
    scope: Scope, owner: Resource, field: str, body: CustomResponseBody | None, status: int | None
) -> str | None:
    """The body that a user wrote for a status, empty where there is none; None, reported, where it cannot be had."""
    if body is None:
        return ""
    if status in answers.BODILESS:
        message = f"an answer with status {status} has no body: it is left out"
        scope.report.warning(owner, field, message, remedy="statusCode: 200")
        return ""
    if body.value_ref is None:
        return body.inline or ""
    config = scope.world.config_maps.get(Name(owner.metadata.namespace, body.value_ref.name))
    if config is None:
        message = f"there is no ConfigMap {body.value_ref.name}"
        scope.report.error(owner, f"{field}.valueRef", message, reason="BackendNotFound")
        return None
    return config.data.get(BODY_KEY) or next(iter(config.data.values()), "")


def response_overrides(scope: Scope, policy: BackendTrafficPolicy) -> tuple[answers.ResponseOverride, ...]:
    """The answers that a policy replaces, without those of which cannot be said by what: these are reported."""
    return tuple(_overrides(scope, policy))


def _overrides(scope: Scope, policy: BackendTrafficPolicy) -> Iterator[answers.ResponseOverride]:
    for index, override in enumerate(policy.spec.response_override):
        field = f"spec.responseOverride[{index}]"
        if override.response is not None:
            found = _response(scope, policy, f"{field}.response", override, override.response)
        else:
            assert override.redirect is not None
            found = _redirect(scope, policy, f"{field}.redirect", override, override.redirect)
        if found is not None:
            yield found


def _response(
    scope: Scope, policy: BackendTrafficPolicy, field: str, override: ResponseOverride, response: CustomResponse
) -> answers.ResponseOverride | None:
    body = written_body(scope, policy, f"{field}.body", response.body, response.status_code)
    if body is None:
        return None
    if problem := format_problem(body):
        scope.report.error(policy, f"{field}.body.valueRef", f"is no format: {problem}", reason="InvalidConfigMapRef")
        return None
    edit = response.header
    content_type = (("content-type", response.content_type),) if response.content_type else ()
    return answers.ResponseOverride(
        statuses=tuple(_statuses(override.match)),
        headers=_headers(override.match),
        local=_LOCAL[override.source],
        status=response.status_code or 0,
        body=body,
        sets=(*content_type, *((item.name, item.value) for item in (edit.set if edit is not None else ()))),
        adds=tuple((item.name, item.value) for item in (edit.add if edit is not None else ())),
    )


def _redirect(
    scope: Scope, policy: BackendTrafficPolicy, field: str, override: ResponseOverride, redirect: CustomRedirect
) -> answers.ResponseOverride | None:
    path = redirect.path.replace_full_path if redirect.path is not None else None
    if path is None:  # what the client asked for may be rewritten
        message = "what it matches stays as it is: an address needs a path"
        remedy = "path: {type: ReplaceFullPath, replaceFullPath: /login}"
        scope.report.warning(policy, field, message, remedy=remedy)
        return None
    if not redirect.hostname and (redirect.scheme is not None or redirect.port is not None):
        message = "what it matches stays as it is: an address with a scheme or a port needs a host"
        scope.report.warning(policy, field, message, remedy="hostname: www.example.com")
        return None
    return answers.ResponseOverride(
        statuses=tuple(_statuses(override.match)),
        headers=_headers(override.match),
        local=_LOCAL[override.source],
        status=redirect.status_code,
        sets=(("location", _origin(redirect) + path),),
    )


def _origin(redirect: CustomRedirect) -> str:
    if not redirect.hostname:
        return ""
    scheme = redirect.scheme or "https"
    usual = redirect.port in (None, 443 if scheme == "https" else 80)
    return f"{scheme}://{redirect.hostname}" if usual else f"{scheme}://{redirect.hostname}:{redirect.port}"


def _statuses(match: CustomResponseMatch) -> Iterator[str]:
    for code in match.status_codes:
        if code.type == "Range" and code.range is not None:
            yield from prefixes(code.range.start, code.range.end)
        elif code.value is not None:
            yield str(code.value)


def prefixes(start: int, end: int) -> Iterator[str]:
    """What the statuses of a range begin with, which are a few texts: of 500 to 511 `50`, `510` and `511`."""
    while start <= end:
        size = next(size for size in (100, 10, 1) if start % size == 0 and start + size - 1 <= end)
        yield str(start // size)
        start += size


def _headers(match: CustomResponseMatch) -> tuple[tuple[str, TextRule], ...]:
    return tuple(
        (header.name.lower(), TextRule(kind=header.value.type, value=header.value.value))
        for header in match.response_headers
    )
