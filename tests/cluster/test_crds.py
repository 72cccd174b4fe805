"""The API server with our CRDs takes what upstream's takes, and refuses the rest in the same words."""

import asyncio

import pytest
from support.crd_cases import ALL, Case
from support.crd_cases.ai_gateway import BACKENDS, ROUTES
from support.crd_cases.case import GROUP
from support.kube import ApiError, Kube, condition, reference


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
async def test_the_api_server_takes_or_refuses(kube: Kube, our_crds: None, case: Case) -> None:
    item = case.object("default")  # for nothing is kept: what makes and removes a namespace costs more than the case
    if not case.refused:
        await kube.create(item, dry_run=True)
        return
    with pytest.raises(ApiError) as refused:
        await kube.create(item, dry_run=True)
    assert refused.value.code == 422
    assert case.refused in refused.value.message


async def test_defaults_are_filled_in(kube: Kube, our_crds: None, namespace: str) -> None:
    created = await kube.create(ROUTES[0].object(namespace))
    (rule,) = created["spec"]["rules"]
    assert rule["modelsOwnedBy"] == "Envoy AI Gateway"
    assert rule["backendRefs"] == [{"name": "backend", "weight": 1}]
    assert created["spec"]["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway"}
    ]


async def test_unknown_fields_are_told(kube: Kube, our_crds: None, namespace: str) -> None:
    item = ROUTES[0].object(namespace)
    item["spec"] = {**item["spec"], "rulez": []}
    with pytest.raises(ApiError) as refused:
        await kube.create(item, dry_run=True)
    assert 'unknown field "spec.rulez"' in refused.value.message


async def test_the_old_version_is_the_new_one_relabelled(kube: Kube, our_crds: None, namespace: str) -> None:
    created = await kube.create(BACKENDS[0].object(namespace))
    old = await kube.get(f"{GROUP}/v1alpha1", "AIServiceBackend", created["metadata"]["name"], namespace)
    assert old["spec"] == created["spec"]


async def test_conditions_of_several_writers_stay_apart(kube: Kube, our_crds: None, namespace: str) -> None:
    created = await kube.create(BACKENDS[0].object(namespace))
    item = reference(f"{GROUP}/v1beta1", "AIServiceBackend", created["metadata"]["name"], namespace)
    now = {"lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Because", "message": "", "status": "True"}

    async def write(type_: str) -> None:
        await kube.apply(
            {**item, "status": {"conditions": [{**now, "type": type_}]}}, manager=type_.lower(), subresource="status"
        )

    await asyncio.gather(write("Accepted"), write("Programmed"))
    written = await kube.get(item["apiVersion"], item["kind"], item["metadata"]["name"], namespace)
    assert condition(written, "Accepted")["status"] == condition(written, "Programmed")["status"] == "True"


async def test_tables_show_the_last_condition(kube: Kube, our_crds: None) -> None:
    crd = await kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"aigatewayroutes.{GROUP}")
    for version in crd["spec"]["versions"]:
        (column,) = version["additionalPrinterColumns"]
        assert (column["name"], column["jsonPath"]) == ("Status", ".status.conditions[-1:].type")
