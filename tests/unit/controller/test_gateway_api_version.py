"""The version of Gateway API's definitions, and its changes."""

from collections.abc import AsyncGenerator

from headgate.controller.sources.kubernetes.client import ApiError
from headgate.controller.sources.kubernetes.gateway_api import BundleVersion
from support.scripted_api import Answer, Object, ScriptedApi


def definition(version: str) -> Object:
    return {"metadata": {"annotations": {"gateway.networking.k8s.io/bundle-version": version}}}


def bundle(*answers: Answer) -> BundleVersion:
    api = ScriptedApi()
    api.answers.extend(answers)
    return BundleVersion(api, recheck_seconds=0)


async def first(changes: AsyncGenerator[str]) -> str:
    try:
        return await anext(changes)
    finally:
        await changes.aclose()


async def test_an_upgrade_is_told_once() -> None:
    found = bundle(definition("v1.4.0"), definition("v1.4.0"), definition("v1.5.1"))
    assert await found.read() == "v1.4.0"
    assert await first(found.changes()) == found.version == "v1.5.1"


async def test_what_was_known_stays_known_while_nobody_answers() -> None:
    found = bundle(definition("v1.4.0"), ApiError(403, "Forbidden", "no"), definition("v1.5.1"))
    await found.read()
    assert await found.read() == "v1.4.0"
    assert await first(found.changes()) == "v1.5.1"


async def test_who_may_not_ask_knows_no_version() -> None:
    assert await bundle(ApiError(403, "Forbidden", "no")).read() == ""
    assert await bundle({"metadata": {}}).read() == ""
