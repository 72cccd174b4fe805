"""What Envoy Gateway calls things, and how an AI route is told from all others."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from google.protobuf.struct_pb2 import Struct

METADATA: Final = "envoy-gateway"
PREFIX: Final = "gateway.envoyproxy.io/"
"""Annotations with it reach routes as metadata, without it."""
GENERATED: Final = "ai-gateway-generated"
"""compat: on every HTTPRoute that we write."""
PRIORITIES: Final = "backend-ref-priority"
"""compat."""
INPUTS: Final = "headgate-inputs"
"""A hash of all that the routes are made of: makes Envoy Gateway translate again when it changes."""
NOT_FOUND: Final = "route-not-found"
"""compat: the name of the last rule."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The object that a route or a virtual host was made of."""

    kind: str
    name: str
    """`<ns>/<name>`"""
    section: str
    generated: bool
    inputs: str


def _text(values: Struct, key: str) -> str:
    return values.fields[key].string_value if key in values.fields else ""


def _origin(metadata: Metadata) -> Origin | None:
    if METADATA not in metadata.filter_metadata:
        return None
    fields = metadata.filter_metadata[METADATA].fields
    if "resources" not in fields or not fields["resources"].list_value.values:
        return None
    first = fields["resources"].list_value.values[0].struct_value
    notes = first.fields["annotations"].struct_value if "annotations" in first.fields else Struct()
    return Origin(
        kind=_text(first, "kind"),
        name=f"{_text(first, 'namespace')}/{_text(first, 'name')}",
        section=_text(first, "sectionName"),
        generated=_text(notes, GENERATED) == "true",
        inputs=_text(notes, INPUTS),
    )


def route_origin(route: Route) -> Origin | None:
    """The HTTPRoute (or another kind) that a route was made of."""
    return _origin(route.metadata)


def gateway_of(host: VirtualHost, configuration: str) -> str:
    """`<ns>/<gateway>` of a virtual host: from its metadata, else from the route configuration's name."""
    origin = _origin(host.metadata)
    if origin is not None and origin.kind == "Gateway":
        return origin.name
    return configuration.rpartition("/")[0]


def without_inputs(metadata: Metadata) -> None:
    """Takes the hash out again: with it a new key would change every route."""
    if METADATA not in metadata.filter_metadata or "resources" not in metadata.filter_metadata[METADATA].fields:
        return
    for value in metadata.filter_metadata[METADATA].fields["resources"].list_value.values:
        if "annotations" in value.struct_value.fields:
            notes = value.struct_value.fields["annotations"].struct_value
            if INPUTS in notes.fields:
                del notes.fields[INPUTS]


@lru_cache(maxsize=65_536)
def rule_of(route_name: str) -> tuple[str, int]:
    """(`<ns>/<route>/rule/<i>`, index of the match) of a route called `httproute/<ns>/<route>/rule/<i>/match/<j>/…`."""
    parts = route_name.split("/")
    if len(parts) < 7 or parts[0] != "httproute" or parts[3] != "rule" or parts[5] != "match":
        return "", 0
    return "/".join(parts[1:5]), int(parts[6]) if parts[6].isdecimal() else 0


@lru_cache(maxsize=65_536)
def cluster_owner(cluster_name: str) -> tuple[str, int | None]:
    """(rule name, backendRef or None for all) of a cluster called `httproute/<ns>/<route>/rule/<i>[/backend/<j>]`."""
    parts = cluster_name.split("/")
    if len(parts) not in (5, 7) or parts[0] != "httproute" or parts[3] != "rule":
        return "", None
    if len(parts) == 7 and (parts[5] != "backend" or not parts[6].isdecimal()):
        return "", None
    return "/".join(parts[1:5]), int(parts[6]) if len(parts) == 7 else None
