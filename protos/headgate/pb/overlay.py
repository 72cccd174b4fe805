"""Fields that Envoy 1.40 has in messages which the xds-protos wheel knows without them: set, read and printed.

`overlay.proto` declares the fields alone, under Envoy's numbers. Merged into the wheel's message they are unknown
fields there, which protobuf keeps and serialises, so they reach Envoy (and come from it) unharmed. For printing, a
private descriptor pool holds the wheel's files with those fields added.

Setters change the message they are given and must be called once per message; nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.unknown_fields import UnknownFieldSet
from headgate.pb import overlay_pb2

if TYPE_CHECKING:
    from envoy.config.core.v3.http_service_pb2 import HttpService
    from envoy.config.route.v3.route_components_pb2 import RetryPolicy
    from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig
    from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import LocalRateLimitDescriptor, RateLimitDescriptor
    from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
    from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit
    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.message import Message

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The wheel's message `target` gains the fields of `fields`."""

    target: str
    fields: Descriptor


OVERLAYS: Final = (
    Overlay("envoy.config.route.v3.RetryPolicy", overlay_pb2.RetryPolicy.DESCRIPTOR),
    Overlay("envoy.extensions.filters.http.lua.v3.Lua", overlay_pb2.Lua.DESCRIPTOR),
    Overlay("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor", overlay_pb2.RateLimitDescriptor.DESCRIPTOR),
    Overlay(
        "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        overlay_pb2.LocalRateLimitDescriptor.DESCRIPTOR,
    ),
    Overlay("envoy.extensions.filters.http.ratelimit.v3.RateLimit", overlay_pb2.RateLimit.DESCRIPTOR),
    Overlay(
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        overlay_pb2.OpenTelemetryAccessLogConfig.DESCRIPTOR,
    ),
)


def refresh_cluster_on_retry(retry_policy: RetryPolicy) -> None:
    """Every attempt asks the route's cluster specifier again: how failover reaches the next backend."""
    _merge(retry_policy, overlay_pb2.RetryPolicy(refresh_cluster_on_retry=True))


def lua_filter_context(lua: Lua, context: Mapping[str, JsonValue]) -> None:
    """What a Lua script reads as `handle:filterContext()`; numbers arrive there as doubles."""
    fields = overlay_pb2.Lua()
    fields.filter_context.update(context)
    _merge(lua, fields)


def lua_shared_vm(lua: Lua, vm_id: str) -> None:
    """Lua filters with the same id and the same code share one interpreter per worker thread."""
    _merge(lua, overlay_pb2.Lua(shared_vm_id=vm_id))


def rate_limit_metadata(rate_limit: RateLimit, namespace: str) -> None:
    """The dynamic metadata of the service's answers goes into that namespace."""
    _merge(rate_limit, overlay_pb2.RateLimit(metadata_namespace=namespace))


def otlp_by_http(log: OpenTelemetryAccessLogConfig, service: HttpService) -> None:
    """Records go by HTTP; the log's own `common_config` must be empty."""
    _merge(log, overlay_pb2.OpenTelemetryAccessLogConfig(http_service=service))


def is_negative_hits(descriptor: RateLimitDescriptor) -> bool:
    """Whether this descriptor gives hits back (a refund at stream end) instead of taking them."""
    number = overlay_pb2.RateLimitDescriptor.IS_NEGATIVE_HITS_FIELD_NUMBER
    found = False
    for field in UnknownFieldSet(descriptor):
        if field.field_number == number:
            found = bool(field.data)  # the last occurrence counts, as for any scalar
    return found


def negative_hits(descriptor: RateLimitDescriptor) -> None:
    """Makes a descriptor give hits back."""
    _merge(descriptor, overlay_pb2.RateLimitDescriptor(is_negative_hits=True))


def local_shadow(descriptor: LocalRateLimitDescriptor) -> None:
    """The bucket counts, and refuses nobody."""
    _merge(descriptor, overlay_pb2.LocalRateLimitDescriptor(shadow_mode=True))


def to_dict(message: Message) -> dict[str, Any]:
    """The protobuf JSON form with Envoy's field names, with what is inside every Any and with the overlaid fields.

    Raises TypeError for an Any whose type no imported module declares.
    """
    known = _PATCHED.message_class(message.DESCRIPTOR.full_name)
    return json_format.MessageToDict(
        known.FromString(message.SerializeToString()),
        preserving_proto_field_name=True,
        descriptor_pool=cast("descriptor_pool.DescriptorPool", _PATCHED),
    )


def to_json(message: Message, *, indent: int | None = 2) -> str:
    """`to_dict` as text with sorted keys: equal messages print equally."""
    return json.dumps(to_dict(message), indent=indent, sort_keys=True, ensure_ascii=False)


def _merge(message: Message, fields: Message) -> None:
    # A Struct is a map: without `deterministic` equal contexts would hash differently from run to run.
    message.MergeFromString(fields.SerializeToString(deterministic=True))


@cache
def _overlays() -> dict[str, Descriptor]:
    return {each.target: each.fields for each in OVERLAYS}


class _PatchedPool:
    """A descriptor pool that copies files from the default pool when asked for a type of theirs, overlays added."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._names: set[str] = set()

    def FindMessageTypeByName(self, full_name: str) -> Descriptor:  # noqa: N802 (protobuf's json_format calls it)
        """Raises KeyError for a type that no imported module declares."""
        file = descriptor_pool.Default().FindMessageTypeByName(full_name).file
        self._add(file)
        return self._pool.FindMessageTypeByName(full_name)

    def message_class(self, full_name: str) -> type[Message]:
        return message_factory.GetMessageClass(self.FindMessageTypeByName(full_name))

    def _add(self, file: FileDescriptor) -> None:
        if file.name in self._names:
            return
        self._names.add(file.name)
        copy = FileDescriptorProto()
        file.CopyToProto(copy)
        for declared in copy.message_type:
            if fields := _overlays().get(f"{copy.package}.{declared.name}"):
                self._extend(copy, declared, fields)
        for dependency in file.dependencies:
            self._add(dependency)
        self._pool.Add(copy)

    def _extend(self, file: FileDescriptorProto, declared: DescriptorProto, overlay: Descriptor) -> None:
        fields = DescriptorProto()
        overlay.CopyToProto(fields)
        known = {field.number for field in declared.field}
        # A newer wheel may know a field already.
        declared.field.extend(field for field in fields.field if field.number not in known)
        for needed in overlay.file.dependencies:
            self._add(needed)
            if needed.name not in file.dependency:
                file.dependency.append(needed.name)


_PATCHED: Final = _PatchedPool()
