"""The test API server is a real one, and the fixtures do what they say."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from support.kube import MANAGER, ApiError, Event, Kube, Object, reference


async def test_objects_are_stored_and_watched(kube: Kube, namespace: str) -> None:
    config = {**reference("v1", "ConfigMap", "settings", namespace), "data": {"a": "1"}}
    created = await kube.create(config)
    async with asyncio.timeout(10), aclosing(kube.watch("v1", "ConfigMap", namespace)) as events:
        first = await _next_of(events, "settings")
        assert (first.type, first.object["data"]) == ("ADDED", {"a": "1"})
        await kube.patch(config, {"data": {"b": "2"}})
        changed = await _next_of(events, "settings")
        assert (changed.type, changed.object["data"]) == ("MODIFIED", {"a": "1", "b": "2"})
    with pytest.raises(ApiError) as conflict:
        await kube.replace({**created, "data": {}})
    assert conflict.value.code == 409


async def _next_of(events: AsyncGenerator[Event], name: str) -> Event:
    async for event in events:
        if event.object["metadata"].get("name") == name:
            return event
    raise AssertionError("the watch ended")


async def test_the_owner_of_a_field_keeps_it(kube: Kube, namespace: str) -> None:
    config = {**reference("v1", "ConfigMap", "settings", namespace), "data": {"a": "1"}}
    await kube.apply(config)
    with pytest.raises(ApiError) as conflict:
        await kube.apply({**config, "data": {"a": "2"}}, manager="another", force=False)
    assert conflict.value.code == 409
    assert f'conflict with "{MANAGER}"' in conflict.value.message


async def test_the_api_server_takes_us_for_whom_we_say(kube: Kube, namespace: str) -> None:
    await kube.create(reference("v1", "ServiceAccount", "reader", namespace))
    async with kube.as_user(f"system:serviceaccount:{namespace}:reader", "system:serviceaccounts") as reader:
        with pytest.raises(ApiError) as refused:
            await reader.list("v1", "Secret", namespace)
    assert refused.value.code == 403


async def test_what_an_owner_made_goes_with_it(kube: Kube, namespace: str) -> None:
    owner = await kube.create(reference("v1", "ConfigMap", "owner", namespace))
    owned = reference("v1", "ConfigMap", "owned", namespace)
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    await kube.create(owned)
    await kube.delete(owner)
    await kube.wait_gone(owned)


async def test_crds_are_served(kube: Kube, gateway_crds: None, namespace: str) -> None:
    """Defaults and rules of a CRD hold: here, of Gateway API."""
    route: Object = {
        **reference("gateway.networking.k8s.io/v1", "HTTPRoute", "route", namespace),
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{}]},
    }
    created = await kube.create(route)
    assert created["spec"]["parentRefs"][0]["kind"] == "Gateway"
    assert created["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    with pytest.raises(ApiError) as refused:
        await kube.create({**route, "spec": {"rules": [{"backendRefs": [{"name": "no-port"}]}]}}, dry_run=True)
    assert refused.value.code == 422
    assert "Must have port for Service reference" in refused.value.message
