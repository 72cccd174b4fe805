"""`headgate translate`: from every dialect that clients speak to every one that providers do."""

import json
from pathlib import Path

import pytest
from headgate.cli.main import main
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName

ASKED = {
    DialectName.ANTHROPIC_MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    DialectName.BEDROCK_CONVERSE: {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    DialectName.COHERE: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    DialectName.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    DialectName.OPENAI_CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    DialectName.OPENAI_COMPLETIONS: {"model": "m", "prompt": "hi"},
    DialectName.OPENAI_RESPONSES: {"model": "m", "input": "hi"},
}
PROVIDERS = [name for name, dialect in DIALECTS.items() if dialect.backend]


@pytest.mark.parametrize("model", ["", "other"])
@pytest.mark.parametrize("target", PROVIDERS)
@pytest.mark.parametrize("source", ASKED)
def test_every_pair(
    source: DialectName, target: DialectName, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(ASKED[source]))
    chosen = ["--model", model] if model else []
    assert main(["translate", "--from", source, "--to", target, *chosen, str(asked)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert "hi" in json.dumps(printed["body"])
    assert not model or model in printed["path"] + json.dumps(printed["body"])


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text('{"model": "m", "messages": 4}')
    assert main(["translate", "--from", "openai-chat", "--to", "gemini", str(asked)]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "messages" in said.err


def test_what_is_too_deep_to_print_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider of the client's dialect is sent it as it is."""
    asked = tmp_path / "asked.json"
    asked.write_text('{"model": "m", "messages": [], "metadata": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert main(["translate", "--from", "gemini", "--to", "gemini", str(asked)]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "nested too deep" in said.err
