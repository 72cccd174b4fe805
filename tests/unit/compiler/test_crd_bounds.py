"""Bounds, defaults and values of our CRDs: those of Envoy AI Gateway 1.1, so that an API server takes what its takes.

Written from its reference, not from our types, which the CRDs are made of. The rules in CEL are in `support.crd_cases`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CRDS = Path(__file__).parents[3] / "manifests" / "crds"
GROUP = "aigateway.envoyproxy.io"
BOTH = ("v1alpha1", "v1beta1")

HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
COSTS = [
    "InputToken", "CachedInputToken", "CacheCreationInputToken", "OutputToken", "TotalToken", "ReasoningToken", "CEL",
]  # fmt: skip
SCHEMAS = {
    "OpenAI", "Cohere", "AWSBedrock", "AzureOpenAI", "GCPVertexAI", "GCPAnthropic", "Anthropic", "AWSAnthropic",
}  # fmt: skip
BUCKETS = ["1s", "1m", "1h", "1d"]


def _map(key: str, most: int | None = None) -> dict[str, Any]:
    bound = {} if most is None else {"maxItems": most}
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key], **bound}


def _set(most: int) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "set", "maxItems": most}


MUTATIONS: Mapping[str, Mapping[str, Any]] = {
    "headerMutation.set": _map("name", 16),
    "headerMutation.set[].value": {"minLength": 1, "maxLength": 4096},
    "headerMutation.remove": _set(16),
    "bodyMutation.set": _map("path", 16),
    "bodyMutation.set[].path": {"minLength": 1},
    "bodyMutation.remove": _set(16),
}
FACTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "aigatewayroutes": {
        "parentRefs": {"maxItems": 16},
        "parentRefs[].group": {"default": "gateway.networking.k8s.io"},
        "parentRefs[].kind": {"default": "Gateway"},
        "hostnames": {"maxItems": 16},
        "hostnames[]": {"pattern": HOSTNAME, "minLength": 1, "maxLength": 253},
        "rules": {"maxItems": 15},
        "rules[].name": {"minLength": 1, "maxLength": 253},
        "rules[].backendRefs": {"maxItems": 128},
        "rules[].backendRefs[].name": {"minLength": 1},
        "rules[].backendRefs[].namespace": {"maxLength": 63},
        "rules[].backendRefs[].group": {"maxLength": 253},
        "rules[].backendRefs[].kind": {"maxLength": 63},
        "rules[].backendRefs[].weight": {"minimum": 0, "default": 1, "format": "int32"},
        "rules[].backendRefs[].priority": {"minimum": 0, "format": "int32"},
        "rules[].matches": {"maxItems": 128},
        "rules[].matches[].headers": _map("name", 16),
        "rules[].matches[].headers[].type": {"enum": ["Exact", "RegularExpression"], "default": "Exact"},
        "rules[].matches[].headers[].value": {"minLength": 1, "maxLength": 4096},
        "rules[].matches[].headers[].name": {"minLength": 1, "maxLength": 256},
        "rules[].streamIdleTimeout": {"pattern": DURATION},
        "rules[].timeouts.request": {"pattern": DURATION},
        "rules[].modelsOwnedBy": {"default": "Envoy AI Gateway"},
        "rules[].modelsCreatedAt": {"format": "date-time"},
        "llmRequestCosts": {"maxItems": 36},
        "llmRequestCosts[].type": {"enum": COSTS},
        **{f"rules[].backendRefs[].{path}": facts for path, facts in MUTATIONS.items()},
    },
    "aiservicebackends": MUTATIONS,
    "backendsecuritypolicies": {
        "targetRefs": {"maxItems": 16},
        "awsCredentials.region": {"minLength": 1},
        "awsCredentials.credentialsFile.profile": {"default": "default"},
        "azureCredentials.clientID": {"minLength": 1},
        "azureCredentials.tenantID": {"minLength": 1},
        "gcpCredentials.projectName": {"minLength": 1},
        "gcpCredentials.region": {"minLength": 1},
    },
    "gatewayconfigs": {
        "globalLLMRequestCosts": _map("metadataKey"),
        "globalLLMRequestCosts[].type": {"enum": COSTS},
        "forwardProxy.address": {"minLength": 1},
    },
    "mcproutes": {
        "parentRefs": {"minItems": 1, "maxItems": 16},
        "path": {"maxLength": 1024, "default": "/mcp"},
        "headers": _map("name", 16),
        "hostnames": {"maxItems": 16},
        "backendRefs": {"minItems": 1, "maxItems": 256},
        "backendRefs[].kind": {"default": "Service"},
        "backendRefs[].group": {"default": ""},
        "backendRefs[].path": {"maxLength": 1024, "default": "/mcp"},
        "backendRefs[].toolSelector.include": {"maxItems": 32},
        "backendRefs[].toolSelector.includeRegex": {"maxItems": 32},
        "backendRefs[].toolSelector.exclude": {"maxItems": 32},
        "backendRefs[].toolSelector.excludeRegex": {"maxItems": 32},
        "backendRefs[].forwardHeaders": {"maxItems": 32},
        "backendSelector.defaultAction": {"enum": ["Allow", "Deny"], "default": "Deny"},
        "backendSelector.rules": {"maxItems": 32},
        "backendSelector.rules[].cel": {"maxLength": 4096},
        "securityPolicy.oauth.issuer": {"format": "uri"},
        "securityPolicy.oauth.audiences": {"maxItems": 32},
        "securityPolicy.oauth.claimToHeaders": {"maxItems": 16},
        "securityPolicy.oauth.jwks.remoteJWKS.uri": {"minLength": 1, "maxLength": 253},
        "securityPolicy.oauth.jwks.remoteJWKS.cacheDuration": {"default": "300s"},
        "securityPolicy.oauth.protectedResourceMetadata.resource": {"format": "uri"},
        "securityPolicy.oauth.protectedResourceMetadata.resourceName": {"maxLength": 256},
        "securityPolicy.oauth.protectedResourceMetadata.scopesSupported": {"maxItems": 32},
        "securityPolicy.oauth.protectedResourceMetadata.resourceSigningAlgValuesSupported": {
            "minItems": 1,
            "maxItems": 16,
        },
        "securityPolicy.authorization.defaultAction": {"enum": ["Allow", "Deny"], "default": "Deny"},
        "securityPolicy.authorization.rules": {"maxItems": 32},
        "securityPolicy.authorization.rules[].cel": {"maxLength": 4096},
        "securityPolicy.authorization.rules[].action": {"enum": ["Allow", "Deny"], "default": "Allow"},
        "securityPolicy.authorization.rules[].target.tools": {"minItems": 1, "maxItems": 16},
        "securityPolicy.authorization.rules[].source.jwt.scopes": {"maxItems": 16},
        "securityPolicy.authorization.rules[].source.jwt.scopes[]": {"minLength": 1, "maxLength": 253},
        "securityPolicy.authorization.rules[].source.jwt.claims": {"maxItems": 16},
        "securityPolicy.authorization.rules[].source.jwt.claims[].name": {"minLength": 1, "maxLength": 253},
        "securityPolicy.authorization.rules[].source.jwt.claims[].valueType": {
            "enum": ["String", "StringArray"],
            "default": "String",
        },
        "securityPolicy.authorization.rules[].source.jwt.claims[].values": {"minItems": 1, "maxItems": 128},
    },
    "quotapolicies": {
        "targetRefs": {"maxItems": 16},
        "perModelQuotas": {"maxItems": 128},
        "perModelQuotas[].modelName": {"minLength": 1},
        "perModelQuotas[].quota.mode": {"default": "Shared"},
        "perModelQuotas[].quota.defaultBucket.duration": {"enum": BUCKETS},
        "perModelQuotas[].quota.bucketRules[].clientSelectors": {"maxItems": 8},
        "perModelQuotas[].quota.bucketRules[].clientSelectors[].headers": {"maxItems": 64},
        "perModelQuotas[].quota.bucketRules[].quota.duration": {"enum": BUCKETS},
        "serviceQuota.quota.duration": {"enum": BUCKETS},
    },
}
REQUIRED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "aigatewayroutes": {
        "": ("rules",),
        "llmRequestCosts[]": ("metadataKey", "type"),
        "rules[].backendRefs[]": ("name",),
    },
    "aiservicebackends": {"": ("schema", "backendRef"), "schema": ("name",)},
    "backendsecuritypolicies": {
        "": ("type",),
        "apiKey": ("secretRef",),
        "awsCredentials": ("region",),
        "awsCredentials.oidcExchangeToken": ("awsRoleArn", "oidc"),
        "azureCredentials": ("clientID", "tenantID"),
        "gcpCredentials": ("projectName", "region"),
        "gcpCredentials.workloadIdentityFederationConfig": (
            "oidcExchangeToken", "projectID", "workloadIdentityPoolName", "workloadIdentityProviderName",
        ),
    },
    "mcproutes": {
        "": ("parentRefs", "backendRefs"),
        "securityPolicy.oauth": ("issuer", "protectedResourceMetadata"),
        "securityPolicy.oauth.protectedResourceMetadata": ("resource",),
    },
    "quotapolicies": {
        "perModelQuotas[]": ("modelName", "quota"),
        "serviceQuota": ("quota",),
        "perModelQuotas[].quota.bucketRules[]": ("quota",),
    },
}  # fmt: skip


@cache
def _crd(plural: str) -> dict[str, Any]:
    return yaml.safe_load((CRDS / f"{GROUP}_{plural}.yaml").read_text())["spec"]


def _at(plural: str, version: str, path: str) -> dict[str, Any]:
    (found,) = [each for each in _crd(plural)["versions"] if each["name"] == version]
    schema = found["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for part in path.split(".") if path else ():
        schema = schema["properties"][part.removesuffix("[]")]
        if part.endswith("[]"):
            schema = schema["items"]
    return schema


def _versions(plural: str) -> tuple[str, ...]:
    return ("v1alpha1",) if plural == "quotapolicies" else BOTH


@pytest.mark.parametrize(("plural", "path"), [(plural, path) for plural, facts in FACTS.items() for path in facts])
def test_fields_have_the_bounds_of_upstream(plural: str, path: str) -> None:
    for version in _versions(plural):
        schema = _at(plural, version, path)
        for name, value in FACTS[plural][path].items():
            said = schema.get(name)
            if name == "enum":
                assert said is not None, version
                assert set(said) == set(value), version
            else:
                assert said == value, (version, name)


@pytest.mark.parametrize(("plural", "path"), [(plural, path) for plural, each in REQUIRED.items() for path in each])
def test_fields_are_required_as_upstream(plural: str, path: str) -> None:
    for version in _versions(plural):
        assert set(_at(plural, version, path).get("required", ())) == set(REQUIRED[plural][path]), version


def test_schemas_are_those_of_upstream_and_one_more() -> None:
    assert set(_at("aiservicebackends", "v1beta1", "schema.name")["enum"]) == {*SCHEMAS, "Gemini"}
    assert set(_at("quotapolicies", "v1alpha1", "perModelQuotas[].quota.mode")["enum"]) == {"Shared", "Exclusive"}


@pytest.mark.parametrize("plural", FACTS)
def test_versions_names_and_warnings_are_those_of_upstream(plural: str) -> None:
    crd = _crd(plural)
    assert crd["scope"] == "Namespaced"
    assert crd.get("conversion", {"strategy": "None"}) == {"strategy": "None"}
    assert crd["names"].get("shortNames", []) == (["gwconfig"] if plural == "gatewayconfigs" else [])
    served = {
        each["name"]: (each["served"], each["storage"], each.get("deprecated", False)) for each in crd["versions"]
    }
    if plural == "quotapolicies":
        assert served == {"v1alpha1": (True, True, False)}
    else:
        assert served == {"v1alpha1": (True, False, True), "v1beta1": (True, True, False)}
        (warning,) = [each["deprecationWarning"] for each in crd["versions"] if each["name"] == "v1alpha1"]
        assert warning == f"{GROUP}/v1alpha1 is deprecated; use {GROUP}/v1beta1 instead"
    for version in crd["versions"]:
        assert version["subresources"] == {"status": {}}
        assert "required" not in version["schema"]["openAPIV3Schema"], "spec may be left out"


@pytest.mark.parametrize("plural", ["backendsecuritypolicies", "quotapolicies"])
def test_policies_are_labelled_as_such(plural: str) -> None:
    labels = yaml.safe_load((CRDS / f"{GROUP}_{plural}.yaml").read_text())["metadata"]["labels"]
    assert labels["gateway.networking.k8s.io/policy"] == "direct"
