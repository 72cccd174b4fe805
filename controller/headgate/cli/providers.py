"""Backends from the environment: which keys are there, and the manifests that serve them.

The manifests are what a user would write; keys stay in the environment and are named in them, not copied.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from headgate.cli.start_error import StartError

DEMO: Final = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A row of `PROVIDERS`: what a provider's official client reads from the environment."""

    name: str
    title: str
    key_variable: str
    url_variable: str
    url_default: str
    """Empty: the URL variable is required."""
    schema: str
    policy_type: str
    policy_field: str
    models: str
    """Regular expression of the models it is asked for when it is not the only one; empty for all the others."""
    example_model: str
    version_variable: str = ""
    """Version of the API, where it has several."""
    version_default: str = ""
    header_variables: tuple[tuple[str, str], ...] = ()
    """(variable, header that is sent with its value)"""


PROVIDERS: Final = (
    Provider(
        name="anthropic",
        title="Anthropic",
        key_variable="ANTHROPIC_API_KEY",
        url_variable="ANTHROPIC_BASE_URL",
        url_default="https://api.anthropic.com",
        schema="Anthropic",
        policy_type="AnthropicAPIKey",
        policy_field="anthropicAPIKey",
        models="claude.*",
        example_model="claude-sonnet-4-5",
    ),
    Provider(
        name="openai",
        title="OpenAI",
        key_variable="OPENAI_API_KEY",
        url_variable="OPENAI_BASE_URL",
        url_default="https://api.openai.com/v1",
        schema="OpenAI",
        policy_type="APIKey",
        policy_field="apiKey",
        models="",
        example_model="gpt-5-mini",
        header_variables=(("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project")),
    ),
    Provider(
        name="azure",
        title="Azure OpenAI",
        key_variable="AZURE_OPENAI_API_KEY",
        url_variable="AZURE_OPENAI_ENDPOINT",
        url_default="",
        schema="AzureOpenAI",
        policy_type="AzureAPIKey",
        policy_field="azureAPIKey",
        models="",
        example_model="YOUR-DEPLOYMENT",
        version_variable="OPENAI_API_VERSION",
        version_default="2025-01-01-preview",
    ),
)


@dataclass(frozen=True, slots=True)
class Used:
    """A provider with a key, and what else its variables say."""

    provider: Provider
    url: str
    """Base URL."""
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Providers with a key, in the order in which they are asked, and what to tell about them."""

    used: tuple[Used, ...]
    told: tuple[str, ...]


def find(environment: Mapping[str, str]) -> Found:
    """Looks for keys. Raises StartError for a key without the URL it needs, or a URL that is none."""
    used: list[Used] = []
    told: list[str] = []
    for provider in PROVIDERS:
        if not environment.get(provider.key_variable):
            continue
        url = environment.get(provider.url_variable) or provider.url_default
        if not url:
            raise StartError(f"{provider.key_variable} is set, but {provider.url_variable} is not")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise StartError(f"{provider.url_variable} is not a URL: {url}")
        if any(not other.provider.models for other in used) and not provider.models:
            # Both would be asked for any model; a file can say which model is whose.
            told.append(f"{provider.key_variable} found, not used: {used[-1].provider.title} takes its models")
            continue
        version = environment.get(provider.version_variable) or provider.version_default
        said = ((header, environment.get(variable, "").strip()) for variable, header in provider.header_variables)
        used.append(Used(provider, url, version, tuple(each for each in said if each[1])))
        told.append(f"{provider.key_variable} found: {provider.title} at {url}")
    return Found(tuple(used), tuple(told))


def manifests(found: Found, *, port: int, demo_socket: Path = Path()) -> str:
    """YAML that serves what was found, or the demo provider on a unix socket."""
    documents = [_GATEWAY.format(port=port)]
    if not found.used:
        documents += [_demo_backends(demo_socket), _route(_DEMO_RULES)]
        return "---\n".join(documents)
    alone = len(found.used) == 1
    rules = [_rule(each.provider.name, "" if alone else each.provider.models) for each in found.used]
    documents += [_PATIENCE, *map(_backend, found.used)]
    return "---\n".join([*documents, _route("".join(rules))])


_GATEWAY: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: headgate}}
spec: {{controllerName: gateway.envoyproxy.io/gatewayclass-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: headgate}}
spec:
  gatewayClassName: headgate
  listeners:
  - {{name: http, protocol: HTTP, port: {port}}}
"""

_PATIENCE: Final = """\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: headgate}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: headgate}]
  timeout: {http: {streamIdleTimeout: 30m}}
"""
"""Models that think may be silent for longer than the five minutes that a listener waits by default."""

_DEMO_RULES: Final = """\
  - matches: [{headers: [{name: x-ai-eg-model, value: demo}]}, {headers: [{name: x-ai-eg-model, value: demo-mini}]}]
    backendRefs: [{name: demo}]
  - matches: [{headers: [{name: x-ai-eg-model, value: demo-claude}]}]
    backendRefs: [{name: demo-claude, modelNameOverride: demo}]
"""


def _route(rules: str) -> str:
    return f"""\
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIGatewayRoute
metadata: {{name: headgate}}
spec:
  parentRefs: [{{name: headgate}}]
  rules:
{rules}"""


def _rule(backend: str, models: str) -> str:
    matches = f"matches: [{{headers: [{{name: x-ai-eg-model, type: RegularExpression, value: '{models}'}}]}}]\n    "
    return f"  - {matches if models else ''}backendRefs: [{{name: {backend}}}]\n    timeouts: {{request: 30m}}\n"


def _demo_backends(socket: Path) -> str:
    backends = [_service(DEMO, "OpenAI", DEMO), _service("demo-claude", "Anthropic", DEMO)]
    return "---\n".join([_at(DEMO, f"unix: {{path: {json.dumps(str(socket))}}}"), *backends])


def _service(name: str, schema: str, backend: str, *, more: str = "", headers: Sequence[tuple[str, str]] = ()) -> str:
    """`more` are further fields of the schema."""
    listed = ", ".join(f"{{name: {header}, value: {json.dumps(value)}}}" for header, value in headers)
    mutation = f"  headerMutation: {{set: [{listed}]}}\n" if listed else ""
    return f"""\
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIServiceBackend
metadata: {{name: {name}}}
spec:
  schema: {{name: {schema}{more}}}
  backendRef: {{group: gateway.envoyproxy.io, kind: Backend, name: {backend}}}
{mutation}"""


def _endpoint(name: str, host: str, port: int) -> str:
    kind, field = ("ip", "address") if host.replace(".", "").isdigit() or ":" in host else ("fqdn", "hostname")
    return _at(name, f"{kind}: {{{field}: '{host}', port: {port}}}")


def _at(name: str, endpoint: str) -> str:
    return f"""\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: {name}}}
spec: {{endpoints: [{{{endpoint}}}]}}
"""


def _backend(used: Used) -> str:
    provider, parts = used.provider, urlsplit(used.url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    documents = [
        _endpoint(provider.name, host, parts.port or (443 if tls else 80)),
        _service(provider.name, provider.schema, provider.name, more=_schema_fields(used), headers=used.headers),
        _policy(provider),
    ]
    return "---\n".join(documents + ([_tls(provider.name, host)] if tls else []))


def _schema_fields(used: Used) -> str:
    prefix = _prefix(used.provider, urlsplit(used.url).path.strip("/"))
    said = (("prefix", prefix), ("version", used.version))
    return "".join(f", {name}: {json.dumps(value)}" for name, value in said if value)


def _prefix(provider: Provider, path: str) -> str:
    """The base URL of an OpenAI client ends with the version, that of an Anthropic client does not."""
    match provider.schema:
        case "OpenAI":
            return path
        case "Anthropic" if path:
            return f"{path}/v1"
        case _:
            return ""


def _policy(provider: Provider) -> str:
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: {provider.name}}}
stringData: {{apiKey: '${{{provider.key_variable}}}'}}
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: BackendSecurityPolicy
metadata: {{name: {provider.name}}}
spec:
  targetRefs: [{{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: {provider.name}}}]
  type: {provider.policy_type}
  {provider.policy_field}: {{secretRef: {{name: {provider.name}}}}}
"""


def _tls(name: str, host: str) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}}}
spec:
  targetRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]
  validation: {{hostname: '{host}', wellKnownCACertificates: System}}
"""
