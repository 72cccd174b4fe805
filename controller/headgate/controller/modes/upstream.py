"""Options of Envoy AI Gateway's controller that mean nothing here: taken, and the log says why they do nothing.

Those that mean the same are other names of ours, in `arguments` and `envoys`.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headgate.compiler.options import Mode

_MCP: Final = "MCPRoutes are not served"
_CERTIFICATES: Final = "the controller makes and rotates its own certificates"
IGNORED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "mcpSessionEncryptionSeed",
            "mcpSessionEncryptionIterations",
            "mcpFallbackSessionEncryptionSeed",
            "mcpFallbackSessionEncryptionIterations",
        ),
        _MCP,
    ),
    **dict.fromkeys(("tlsCertDir", "caBundleName", "tlsCertName", "tlsKeyName"), _CERTIFICATES),
    "extProcEnableRedaction": "no content is ever logged",
    "extProcMaxRecvMsgSize": "bodies are bounded by ClientTrafficPolicies, and by 50 MiB without one",
    "quotaRateLimitServiceAddr": "quotas are asked of Headgate's own rate limit service: --ratelimit-address",
    "quotaRateLimitTimeout": "Envoy waits as long as for any limit",
}
"""Why, by name. Values are never shown: some are secrets."""
PREFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("", "/"),
    "cohere": ("", "/", "/cohere"),
    "anthropic": ("", "/", "/anthropic"),
}
"""The prefixes of `endpointPrefixes` that are served, all of them at all times."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Not in the help: who does not come from there needs none of them."""
    for name in IGNORED:
        parser.add_argument(f"--{name}", nargs="?", action=_Noted, help=argparse.SUPPRESS)
    parser.add_argument("--endpointPrefixes", type=_prefixes, default=(), help=argparse.SUPPRESS)


class _Noted(argparse.Action):
    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, True)


def _prefixes(text: str) -> tuple[tuple[str, str], ...]:
    found = tuple(tuple(map(str.strip, part.split(":", 1))) for part in text.split(",") if part.strip())
    if any(len(each) != 2 for each in found):
        raise ValueError(text)
    return tuple((each[0], each[1]) for each in found)


def with_two_dashes(arguments: Sequence[str]) -> list[str]:
    """compat: `-name` is `--name`, as Go's flags have it."""
    return [f"-{each}" if re.match(r"-[A-Za-z]{2}", each) else each for each in arguments]


def notes(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(option, why it does nothing) of those that were given."""
    for name, why in IGNORED.items():
        if getattr(options, name):
            yield name, why
    if options.mode is Mode.ENVOY_GATEWAY and options.span_request_header_attributes:
        yield "spanRequestHeaderAttributes", "beside Envoy Gateway an EnvoyProxy's tracing.customTags say it"
    for name, prefix in options.endpointPrefixes:
        served = PREFIXES.get(name, ())
        if (prefix.rstrip("/") or "/") not in served:
            known = " and ".join(filter(None, served)) or "nothing of that name"
            yield "endpointPrefixes", f"{name}:{prefix} is not served; what is: {known}"
