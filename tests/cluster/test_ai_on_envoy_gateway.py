"""AI routes through the real Envoy Gateway, the real Envoy and our controller, with the official clients."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.envoy_gateway import EnvoyGateway
from support.kube import Kube
from support.providers import ANTHROPIC, OPENAI, Failure, Provider


@pytest.fixture
async def stage(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
) -> AsyncIterator[AiStage]:
    def provider(api: object, key: str) -> Provider:
        return Provider(api, key=key, host=POD_ADDRESS, tolerated_headers=TOLERATED)  # pyright: ignore[reportArgumentType]

    providers = {
        "first": provider(OPENAI, "sk-first"),
        "second": provider(OPENAI, "sk-second"),
        "claude": provider(ANTHROPIC, "sk-claude"),
    }
    directory = short_path / "stage"
    directory.mkdir()
    async with AiStage(kube, namespace, run_envoy_gateway, directory, **providers) as made:
        yield made
        assert made.problems() == []


async def _standard(stage: AiStage) -> None:
    await stage.backend("first")
    await stage.backend("second")
    await stage.backend("claude", "Anthropic")
    await stage.apply(
        manifests.route(
            "chat",
            [
                manifests.rule("fast", manifests.ref("first", modelNameOverride="real-1")),
                manifests.rule(
                    "safe",
                    manifests.ref("first", modelNameOverride="a", priority=0),
                    manifests.ref("second", modelNameOverride="b", priority=1),
                ),
                manifests.rule("claude", manifests.ref("claude")),
            ],
            llmRequestCosts=[{"metadataKey": "total", "type": "TotalToken"}],
        )
    )
    await stage.start_envoy()
    await stage.served("fast")


async def test_clients_of_any_dialect_reach_their_models(stage: AiStage) -> None:
    await _standard(stage)
    assert stage.providers["first"].last.json["model"] == "real-1"
    listed = await stage.http.get("/v1/models")
    assert [each["id"] for each in listed.json()["data"]] == ["claude", "fast", "safe"]
    unknown = await stage.chat("nope")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")

    openai, anthropic = stage.openai(), stage.anthropic()
    for model in ("fast", "claude"):
        answer = await openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices[0].message.content
        stream = await openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        message = await anthropic.messages.create(
            model=model, max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
        )
        assert message.content
    envoy = stage.envoy
    assert "false" in envoy.admin("/runtime").split("grpc_side_stream_flow_control")[1][:200]
    lines = stage.access(lambda line: line["model"] == "claude", count=3)
    assert lines[0]["metadata"]["total"] > 0
    assert lines[0]["metadata"]["ai_service_backend_name"] == f"{stage.namespace}/claude"
    fast = stage.access(lambda line: line["model"] == "fast")[0]
    assert fast["metadata"]["model_name_override"] == "real-1"


async def test_a_failed_attempt_goes_to_the_next_backend(stage: AiStage) -> None:
    await _standard(stage)
    first, second = stage.providers["first"], stage.providers["second"]
    first.answer(Failure(503))
    assert (await stage.chat("safe")).status_code == 200
    assert second.last.json["model"] == "b"
    stream = await stage.openai().chat.completions.create(
        model="safe", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    first.forget()
    second.forget()
    first.answer(Failure(400))
    assert (await stage.chat("safe")).status_code == 400
    assert second.requests == []
