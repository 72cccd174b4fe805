"""Who a client is, as Envoy Gateway's authentication tells it: in a header, from which our filters take it."""

from collections.abc import MutableMapping
from typing import Final

from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuthPerRoute
from google.protobuf.any_pb2 import Any
from headgate.compiler.lower.filters.security import CLIENT_HEADER
from headgate.compiler.lower.wire import packed

API_KEYS: Final = "envoy.filters.http.api_key_auth"


def name_clients(configs: MutableMapping[str, Any]) -> str:
    """Has API key authentication tell the client's name, in a header of ours where its policy names none.

    `configs` are a route's, by filter; the header is returned, empty where nothing authenticates by keys. No client can
    send our header, and no provider sees it.
    """
    found = ApiKeyAuthPerRoute()
    for name in sorted(configs):
        if name.startswith(API_KEYS) and configs[name].Unpack(found):
            if not found.forwarding.header:
                found.forwarding.header = CLIENT_HEADER
                configs[name].CopyFrom(packed(found))
            return found.forwarding.header
    return ""
