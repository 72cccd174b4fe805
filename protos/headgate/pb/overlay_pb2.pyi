from envoy.config.core.v3 import http_service_pb2 as _http_service_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetryPolicy(_message.Message):
    __slots__ = ("refresh_cluster_on_retry",)
    REFRESH_CLUSTER_ON_RETRY_FIELD_NUMBER: _ClassVar[int]
    refresh_cluster_on_retry: bool
    def __init__(self, refresh_cluster_on_retry: _Optional[bool] = ...) -> None: ...

class Lua(_message.Message):
    __slots__ = ("filter_context", "shared_vm_id")
    FILTER_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SHARED_VM_ID_FIELD_NUMBER: _ClassVar[int]
    filter_context: _struct_pb2.Struct
    shared_vm_id: str
    def __init__(self, filter_context: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., shared_vm_id: _Optional[str] = ...) -> None: ...

class RateLimitDescriptor(_message.Message):
    __slots__ = ("is_negative_hits",)
    IS_NEGATIVE_HITS_FIELD_NUMBER: _ClassVar[int]
    is_negative_hits: bool
    def __init__(self, is_negative_hits: _Optional[bool] = ...) -> None: ...

class LocalRateLimitDescriptor(_message.Message):
    __slots__ = ("shadow_mode",)
    SHADOW_MODE_FIELD_NUMBER: _ClassVar[int]
    shadow_mode: bool
    def __init__(self, shadow_mode: _Optional[bool] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("metadata_namespace",)
    METADATA_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    metadata_namespace: str
    def __init__(self, metadata_namespace: _Optional[str] = ...) -> None: ...

class OpenTelemetryAccessLogConfig(_message.Message):
    __slots__ = ("http_service",)
    HTTP_SERVICE_FIELD_NUMBER: _ClassVar[int]
    http_service: _http_service_pb2.HttpService
    def __init__(self, http_service: _Optional[_Union[_http_service_pb2.HttpService, _Mapping]] = ...) -> None: ...
