"""Delta discovery messages to values and back."""

from envoy.service.discovery.v3 import discovery_pb2
from headgate.controller.xds.session import Request, Send


def decode_request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    """One request; an error without words still is a refusal."""
    error = message.error_detail
    return Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=(error.message or f"status {error.code}") if message.HasField("error_detail") else None,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
    )


def node_id(message: discovery_pb2.DeltaDiscoveryRequest) -> str:
    """Envoy sends its node on the first request of a stream only; empty on the others."""
    return message.node.id


def encode_response(send: Send) -> discovery_pb2.DeltaDiscoveryResponse:
    """One response. Resources are made in their place: to be given a message protobuf copies it, byte by byte."""
    response = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=send.snapshot_version,
        type_url=send.type_url,
        nonce=send.nonce,
        removed_resources=send.removed,
    )
    for resource in send.resources:
        added = response.resources.add(name=resource.name, version=resource.version)
        added.resource.type_url = send.type_url
        added.resource.value = resource.body
    return response
