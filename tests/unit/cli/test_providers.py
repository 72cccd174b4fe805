import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from headgate.cli import providers
from headgate.cli.start_error import StartError
from headgate.compiler.compile import compile_world
from headgate.compiler.options import Options
from headgate.controller.sources.files import load
from headgate.pb import overlay

KEYS = {
    "OPENAI_API_KEY": "sk-o",
    "ANTHROPIC_API_KEY": "sk-a",
    "AZURE_OPENAI_API_KEY": "sk-z",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
}


def found(*names: str, **more: str) -> providers.Found:
    return providers.find({**{name: KEYS[name] for name in names}, **more})


def test_nothing_is_found_in_an_empty_environment() -> None:
    assert providers.find({"OPENAI_API_KEY": ""}) == providers.Found((), ())


def test_what_is_found_is_named_with_its_url_and_without_its_key() -> None:
    told = found("OPENAI_API_KEY", OPENAI_BASE_URL="http://127.0.0.1:1/v1").told
    assert told == ("OPENAI_API_KEY found: OpenAI at http://127.0.0.1:1/v1",)


def test_of_two_that_take_any_model_the_first_is_used_and_the_other_named() -> None:
    both = found("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
    assert [each.provider.name for each in both.used] == ["openai"]
    assert both.told[1] == "AZURE_OPENAI_API_KEY found, not used: OpenAI takes its models"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "api.openai.com"}, "OPENAI_BASE_URL is not a URL: api.openai.com"),
    ],
)
def test_half_a_provider_is_one_clear_error(environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(StartError) as error:
        providers.find(environment)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("OPENAI_API_KEY",),
        ("ANTHROPIC_API_KEY",),
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
        ("ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
    ],
)
def test_the_manifests_compile_without_a_word_and_hold_no_key(tmp_path: Path, names: tuple[str, ...]) -> None:
    text = providers.manifests(found(*names), port=8080, demo_socket=Path("/demo.sock"))
    assert not any(value in text for name, value in KEYS.items() if name.endswith("KEY"))
    (tmp_path / "gateway.yaml").write_text(text)
    loaded = load([tmp_path], environment=KEYS)
    compiled = compile_world(loaded.world, Options(extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock"))
    assert [str(each) for each in (*loaded.diagnostics, *compiled.diagnostics)] == []
    clusters = compiled.resources["type.googleapis.com/envoy.config.cluster.v3.Cluster"]
    assert len([name for name in clusters if not name.startswith("headgate-")]) >= max(1, len(names) // 2)


def test_a_base_url_with_a_path_is_kept() -> None:
    text = providers.manifests(found("ANTHROPIC_API_KEY", ANTHROPIC_BASE_URL="https://x.test/claude/"), port=1)
    assert 'prefix: "claude/v1"' in text
    text = providers.manifests(found("OPENAI_API_KEY", OPENAI_BASE_URL="https://x.test/api/v3"), port=1)
    assert 'prefix: "api/v3"' in text


def backend_of(tmp_path: Path, *names: str, **more: str) -> Any:
    (tmp_path / "gateway.yaml").write_text(providers.manifests(found(*names, **more), port=8080))
    loaded = load([tmp_path], environment=KEYS)
    assert loaded.diagnostics == ()
    (backend,) = loaded.world.ai_service_backends.values()
    return backend.spec


def test_openais_organization_and_project_are_named(tmp_path: Path) -> None:
    """The account's, as its key is: whatever a client says."""
    spec = backend_of(tmp_path, "OPENAI_API_KEY", OPENAI_ORG_ID="org-1", OPENAI_PROJECT_ID='proj "2"\n')
    sent = {header.name: header.value for header in spec.header_mutation.set}
    assert sent == {"OpenAI-Organization": "org-1", "OpenAI-Project": 'proj "2"'}
    assert backend_of(tmp_path, "OPENAI_API_KEY", OPENAI_ORG_ID="").header_mutation is None


@pytest.mark.parametrize(
    ("said", "version"),
    [({}, "2025-01-01-preview"), ({"OPENAI_API_VERSION": "2024-10-21"}, "2024-10-21")],
)
def test_azures_version_is_the_one_that_its_clients_are_told(
    tmp_path: Path, said: Mapping[str, str], version: str
) -> None:
    names = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
    assert backend_of(tmp_path, *names, **said).schema.version == version


def test_agents_may_take_their_time(tmp_path: Path) -> None:
    """A minute, which rules give by default, cuts the streams of models that think; five silent ones end requests."""
    (tmp_path / "gateway.yaml").write_text(providers.manifests(found(*KEYS), port=8080))
    world = load([tmp_path], environment=KEYS).world
    timeouts = [rule.timeouts for route in world.ai_gateway_routes.values() for rule in route.spec.rules]
    assert timeouts
    assert all(each is not None and each.request == "30m" for each in timeouts)
    compiled = compile_world(world, Options(extproc_sockets=("/x.sock",)))
    (listener,) = compiled.resources["type.googleapis.com/envoy.config.listener.v3.Listener"].values()
    assert '"stream_idle_timeout": "1800s"' in json.dumps(overlay.to_dict(listener))
