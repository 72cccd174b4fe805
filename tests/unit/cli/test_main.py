"""What all commands share."""

import subprocess
import sys

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
