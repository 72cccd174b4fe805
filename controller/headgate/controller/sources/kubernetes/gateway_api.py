"""Which version of Gateway API's definitions a cluster has: an annotation of each of them says so."""

from typing import Final

import msgspec
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

DEFINITION: Final = "gatewayclasses.gateway.networking.k8s.io"
_PATH: Final = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"
_VERSION: Final = "gateway.networking.k8s.io/bundle-version"


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] = {}


class _Definition(msgspec.Struct):
    metadata: _Metadata


async def bundle_version(api: ApiServer) -> str:
    """Like `v1.6.1`; empty where nobody says, or we may not ask, which the log tells."""
    try:
        found = msgspec.json.decode(await api.request("GET", _PATH), type=_Definition)
    except (ApiError, UnreachableError, msgspec.DecodeError) as error:
        log.warning("gateway_api_version_unknown", problem=str(error))
        return ""
    return found.metadata.annotations.get(_VERSION, "")
