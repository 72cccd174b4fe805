"""What all commands share."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from headgate.cli.main import main
from support.manifests import EXAMPLES


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    """`headgate compile … | head -1`."""
    command = [sys.executable, "-m", "headgate.cli.main", "compile", str(EXAMPLES / "failover.yaml")]
    environment = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()
        assert running.wait() == 141


@pytest.fixture
def heard() -> Iterator[None]:
    """What is started hears Ctrl-C, though a shell that runs the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_ends_a_command_without_a_trace(tmp_path: Path) -> None:
    """The command waits for the pipe's other end, so it is at work when the pipe opens here."""
    pipe = tmp_path / "request.json"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "headgate.cli.main", "translate"]
    command += ["--from", "openai-chat", "--to", "anthropic-messages", str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:

        def interrupt() -> None:
            with pipe.open("wb"):
                running.send_signal(signal.SIGINT)
                running.wait()

        threading.Thread(target=interrupt, daemon=True).start()
        assert running.communicate() == (b"", b"")
        assert running.returncode == 130


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "show what a provider would receive" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--workers", "0"], "headgate run: --workers: '0' is no whole number of at least 1 ("),
        (["run", "--portt", "1"], "headgate: unrecognized arguments: --portt ("),
        (["frob"], "headgate: COMMAND: invalid choice: 'frob' (choose from "),
        (["translate", "x"], "headgate translate: the following arguments are required: --from, --to ("),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr().err

    assert ended.value.code == 2
    assert told.startswith(said)
    assert told.count("\n") == 1
    assert "--help` shows what there is)" in told
