"""Exchanges on a cluster: the leader fetches and writes Secrets; every replica sees them like any others.

A Secret is patched, not applied: a failure must leave the token, which this replica may never have seen, where it is.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final

from headgate.compiler.exchanges import Exchange
from headgate.controller.credentials.exchange import ExchangeError
from headgate.controller.credentials.keeping import Keeping
from headgate.controller.credentials.settings import CredentialSettings
from headgate.controller.credentials.token_secret import TokenSecret
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError

FIELD_MANAGER: Final = "headgate"
MERGE: Final = "application/merge-patch+json"


class ClusterCredentials:
    """Keeps the newest exchanges for as long as this replica may write."""

    def __init__(self, api: ApiServer, settings: CredentialSettings, *, may_write: Callable[[], bool]) -> None:
        self.writes = 0
        self._api = api
        self._may_write = may_write
        self._wanted: Sequence[Exchange] = ()
        self._keeping = Keeping(settings, self._deliver)

    def offer(self, exchanges: Sequence[Exchange]) -> None:
        """These are the credentials that should be fresh."""
        self._wanted = exchanges
        self.recheck()

    def recheck(self) -> None:
        """Begins, or stops, as we lead."""
        self._keeping.want(self._wanted if self._may_write() else ())

    async def close(self) -> None:
        """Stops."""
        await self._keeping.close()

    async def _deliver(self, change: TokenSecret) -> None:
        if not self._may_write():
            raise ExchangeError("another replica leads now")
        collection = f"/api/v1/namespaces/{change.name.namespace}/secrets"
        query = {"fieldManager": FIELD_MANAGER}
        body = patch_of(change)
        try:
            try:
                path = f"{collection}/{change.name.name}"
                await self._api.request("PATCH", path, query=query, body=body, content_type=MERGE)
            except ApiError as error:
                if error.code != 404:
                    raise
                await self._api.request("POST", collection, query=query, body=body)
        except (ApiError, UnreachableError) as error:
            raise ExchangeError(f"Secret {change.name} cannot be written: {error}") from None
        self.writes += 1


def patch_of(change: TokenSecret) -> dict[str, object]:
    """The change as a merge patch, which is also the whole of a new Secret."""
    head: dict[str, object] = {
        "name": change.name.name,
        "namespace": change.name.namespace,
        "annotations": dict(change.annotations),
    }
    policy = change.exchange
    if policy.uid:
        owner = {"apiVersion": policy.api_version, "kind": "BackendSecurityPolicy"}
        head["ownerReferences"] = [{**owner, "name": policy.policy.name, "uid": policy.uid}]
    patch: dict[str, object] = {"apiVersion": "v1", "kind": "Secret", "metadata": head}
    if change.values is not None:
        values = {name: b64encode(value.reveal().encode()).decode() for name, value in change.values.items()}
        patch["data"] = values or None
    return patch
