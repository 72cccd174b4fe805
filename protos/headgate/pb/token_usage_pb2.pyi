from headgate.pb import llm_protocol_pb2 as _llm_protocol_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TokenUsage(_message.Message):
    __slots__ = ("llm_protocol", "model", "input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details", "provider_total_tokens", "extraction_status")
    class ExtractionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EXTRACTION_STATUS_UNSPECIFIED: _ClassVar[TokenUsage.ExtractionStatus]
        COMPLETE: _ClassVar[TokenUsage.ExtractionStatus]
        PARTIAL: _ClassVar[TokenUsage.ExtractionStatus]
        FAILED: _ClassVar[TokenUsage.ExtractionStatus]
    EXTRACTION_STATUS_UNSPECIFIED: TokenUsage.ExtractionStatus
    COMPLETE: TokenUsage.ExtractionStatus
    PARTIAL: TokenUsage.ExtractionStatus
    FAILED: TokenUsage.ExtractionStatus
    LLM_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKEN_DETAILS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_DETAILS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXTRACTION_STATUS_FIELD_NUMBER: _ClassVar[int]
    llm_protocol: _llm_protocol_pb2.LLMProtocol
    model: str
    input_tokens: _wrappers_pb2.UInt64Value
    output_tokens: _wrappers_pb2.UInt64Value
    total_tokens: _wrappers_pb2.UInt64Value
    input_token_details: InputTokenDetails
    output_token_details: OutputTokenDetails
    provider_total_tokens: _wrappers_pb2.UInt64Value
    extraction_status: TokenUsage.ExtractionStatus
    def __init__(self, llm_protocol: _Optional[_Union[_llm_protocol_pb2.LLMProtocol, str]] = ..., model: _Optional[str] = ..., input_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., output_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., total_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., input_token_details: _Optional[_Union[InputTokenDetails, _Mapping]] = ..., output_token_details: _Optional[_Union[OutputTokenDetails, _Mapping]] = ..., provider_total_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., extraction_status: _Optional[_Union[TokenUsage.ExtractionStatus, str]] = ...) -> None: ...

class InputTokenDetails(_message.Message):
    __slots__ = ("cached_tokens", "cache_creation_tokens", "tool_use_tokens")
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_CREATION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOL_USE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    cached_tokens: _wrappers_pb2.UInt64Value
    cache_creation_tokens: _wrappers_pb2.UInt64Value
    tool_use_tokens: _wrappers_pb2.UInt64Value
    def __init__(self, cached_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., cache_creation_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ..., tool_use_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ...) -> None: ...

class OutputTokenDetails(_message.Message):
    __slots__ = ("reasoning_tokens",)
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    reasoning_tokens: _wrappers_pb2.UInt64Value
    def __init__(self, reasoning_tokens: _Optional[_Union[_wrappers_pb2.UInt64Value, _Mapping]] = ...) -> None: ...
