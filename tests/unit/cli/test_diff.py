"""`headgate diff` says what files would change for clients, then for Envoy."""

import json
from pathlib import Path
from typing import Any

import pytest
from headgate.cli.main import main
from support import manifests
from support.manifests import Document

Captured = pytest.CaptureFixture[str]


def base() -> list[Document]:
    return [
        *manifests.gateway({"port": 8080}),
        *manifests.backend("openai", 1, key="sk-secret"),
        *manifests.backend("claude", 2, "Anthropic"),
        manifests.route("chat", [manifests.rule("gpt", manifests.ref("openai"))]),
    ]


def written(path: Path, *documents: Document) -> str:
    path.write_text(manifests.text(documents))
    return str(path)


def diff(tmp_path: Path, *documents: Document, options: tuple[str, ...] = ()) -> int:
    now = written(tmp_path / "now.yaml", *base())
    return main(["diff", written(tmp_path / "new.yaml", *documents), "--against", now, *options])


def test_the_same_changes_nothing(tmp_path: Path, capsys: Captured) -> None:
    assert diff(tmp_path, *base()) == 0
    assert capsys.readouterr().out == "nothing would change\n"


def test_another_backend_shows_its_lanes_and_resources(tmp_path: Path, capsys: Captured) -> None:
    assert diff(tmp_path, manifests.route("chat", [manifests.rule("gpt", manifests.ref("claude"))])) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rule default/chat/rule/0 (model gpt): changed"
    assert any(line.startswith("  - backend 0 default/openai native: /v1/chat/completions") for line in lines)
    assert any(line.startswith("  + backend 0 default/claude extproc: /v1/chat/completions") for line in lines)
    assert "  + Cluster default/claude/route/chat/rule/0/ref/0" in lines
    assert "  - Cluster default/openai/route/chat/rule/0/ref/0" in lines
    assert "  ~ RouteConfiguration default/gateway/listener0" in lines


def test_a_new_model_is_added_and_the_rest_stays(tmp_path: Path, capsys: Captured) -> None:
    assert diff(tmp_path, manifests.route("more", [manifests.rule("opus", manifests.ref("claude"))])) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rule default/more/rule/0 (model opus): added"
    assert not any(line.startswith("  -") for line in lines)


def test_what_is_not_in_the_files_stays_unless_pruned(tmp_path: Path, capsys: Captured) -> None:
    documents = [each for each in base() if each["kind"] != "AIGatewayRoute"]
    assert diff(tmp_path, *documents) == 0
    assert diff(tmp_path, *documents, options=("--prune",)) == 1
    assert "rule default/chat/rule/0 (model gpt): removed" in capsys.readouterr().out


def test_a_limit_is_told_in_words(tmp_path: Path, capsys: Captured) -> None:
    route = manifests.route(
        "chat", [manifests.rule("gpt", manifests.ref("openai"))], **manifests.costs(total="TotalToken")
    )
    limit = manifests.limits("budget", "chat", manifests.token_limit("total", 1000))
    assert diff(tmp_path, route, limit) == 1
    text = capsys.readouterr().out
    assert "+ cost total: total_tokens" in text
    assert "1000 per hour for all requests together; a request adds 0, then total when it is done" in text
    assert "the rate limit service gets another configuration" in text


def test_problems_come_and_go(tmp_path: Path, capsys: Captured) -> None:
    assert diff(tmp_path, manifests.route("chat", [manifests.rule("gpt", manifests.ref("nobody"))])) == 1
    text = capsys.readouterr().out
    assert "new problems:" in text
    assert "there is no AIServiceBackend default/nobody" in text


def test_a_changed_key_is_a_changed_secret_and_is_not_told(tmp_path: Path, capsys: Captured) -> None:
    assert diff(tmp_path, manifests.secret("openai", apiKey="sk-other")) == 1
    text = capsys.readouterr().out
    assert "~ Secret backend-security-policy/default/openai" in text
    assert "sk-" not in text


def test_a_broken_object_takes_the_place_of_the_good_one(tmp_path: Path, capsys: Captured) -> None:
    broken = manifests.route("chat", [manifests.rule("gpt", manifests.ref("openai"), nonsense=1)])
    assert diff(tmp_path, broken) == 1
    text = capsys.readouterr().out
    assert "rule default/chat/rule/0 (model gpt): removed" in text
    assert "nonsense" in text


def test_json_has_all_of_it(tmp_path: Path, capsys: Captured) -> None:
    options = ("--output", "json")
    assert (
        diff(tmp_path, manifests.route("chat", [manifests.rule("gpt", manifests.ref("claude"))]), options=options) == 1
    )
    found: Any = json.loads(capsys.readouterr().out)
    assert found["changes"][0]["name"] == "rule default/chat/rule/0"
    assert found["resources"]["removed"][0].startswith("Cluster ")


def test_it_asks_what_there_is_now(tmp_path: Path, capsys: Captured) -> None:
    assert main(["diff", written(tmp_path / "new.yaml", *base())]) == 2
    assert "--against PATH" in capsys.readouterr().err
