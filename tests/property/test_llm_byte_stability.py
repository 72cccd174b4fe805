"""Equal requests give equal bytes, in every process: providers' prompt caches are bought with that."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from support.chat_digests import STREAM_MEMBERS, digests, every_cell, translated
from support.chat_goldens import PAIRS

SEEDS = ("0", "1", "4242")


def _digests_of_a_process(seed: str) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": tests}
    command = (sys.executable, "-m", "support.chat_digests")
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=tests)


def test_every_cell_has_the_same_bytes_in_every_process() -> None:
    """Whatever order a process has for what has none."""
    processes = [_digests_of_a_process(seed) for seed in SEEDS]
    here = list(digests())
    for process in processes:
        said, _ = process.communicate()
        assert process.returncode == 0
        assert said.splitlines() == here


def test_every_pair_of_dialects_has_its_cells() -> None:
    assert {(dialect, provider) for dialect, _, provider, _ in every_cell()} == set(PAIRS)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_streamed_request_has_the_bytes_of_a_whole_one(client: DialectName, provider: DialectName) -> None:
    """But for what asks for the stream: one that is asked for again without it hits the same cache."""
    for dialect, case, other, target in every_cell():
        if (dialect, other) != (client, provider):
            continue
        whole = translated(dialect, case, provider, target, streamed=False)
        streamed = translated(dialect, case, provider, target, streamed=True)
        if isinstance(whole, RequestError) or isinstance(streamed, RequestError):
            assert str(whole) == str(streamed)
        elif whole.losses == streamed.losses:  # Gemini streams one answer, and says that it was asked for two
            assert _rest(streamed.body) == _rest(whole.body), f"{case.stem} for {target}"


def _rest(body: bytes) -> list[tuple[str, bytes]]:
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return [(name, bytes(raw)) for name, raw in members.items() if name not in STREAM_MEMBERS]
