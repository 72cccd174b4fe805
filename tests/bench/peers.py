"""LiteLLM's proxy under the same load: from PyPI, in an environment of its own, with its logging and retries off."""

import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.gateway import status_of
from support.ports import free_port
from support.processes import Child, descendants, resident_bytes

from bench import report
from bench.data_path import load_for, modes
from bench.measure import Measured, measure, start_backend
from bench.scenarios import SCENARIOS

ENVIRONMENT_PATH: Final = Path(os.environ.get("HEADGATE_BENCH_PEERS", ".venv-peers")).absolute()
PACKAGE: Final = "litellm[proxy]"
START_SECONDS_MAX: Final = 180.0
KEY: Final = f"sk-{secrets.token_hex(32)}"
WORKERS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one peer did."""

    name: str
    version: str
    start_seconds: float
    resident_idle_bytes: int
    resident_after_bytes: int
    runs: dict[str, Measured]


def _install() -> Path:
    """The environment's `litellm`; installs it the first time."""
    program = ENVIRONMENT_PATH / "bin" / "litellm"
    if not program.exists():
        print(f"    installing {PACKAGE} into {ENVIRONMENT_PATH}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT_PATH)], check=True)
        pip = [str(ENVIRONMENT_PATH / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", PACKAGE], check=True)
    return program


def _configuration(backend_port: int) -> str:
    base = f"http://127.0.0.1:{backend_port}"
    models = [
        ("native", {"model": "openai/gpt-4o-mini", "api_base": f"{base}/v1", "api_key": "sk-bench"}),
        ("extproc", {"model": "anthropic/claude-sonnet-4-5", "api_base": base, "api_key": "sk-bench"}),
    ]
    return json.dumps(
        {
            "model_list": [
                {"model_name": f"{name}{suffix}", "litellm_params": parameters}
                for name, parameters in models
                for suffix in ("", "-stream")
            ],
            "litellm_settings": {"num_retries": 0, "telemetry": False, "set_verbose": False},
            "general_settings": {"master_key": KEY},
        }
    )


def measure_litellm(directory: Path, *, seconds: float) -> Peer:
    """One pass over what LiteLLM has a counterpart for: relayed and translated, whole and streamed."""
    program = _install()
    backend, backend_port = start_backend(directory)
    file = directory / "litellm.yaml"
    file.write_text(_configuration(backend_port))
    port = free_port()
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    started = time.monotonic()
    wanted = [each for each in SCENARIOS if each.name in ("native", "extproc", "native-stream", "extproc-stream")]
    with (
        backend,
        Child(
            [*command, "--num_workers", str(WORKERS)], directory=directory, name="litellm", environment=environment
        ) as proxy,
    ):
        while status_of(f"http://127.0.0.1:{port}/health/liveliness") != 200:
            proxy.require_alive()
            if time.monotonic() - started > START_SECONDS_MAX:
                raise TimeoutError(f"LiteLLM did not start in {START_SECONDS_MAX:g} s")
            time.sleep(0.05)
        start_seconds = time.monotonic() - started
        pids = (proxy.pid, *descendants(proxy.pid))
        idle = sum(map(resident_bytes, pids))
        runs: dict[str, Measured] = {}
        for scenario in wanted:
            for mode in modes(scenario):
                load = load_for(scenario, mode, port, seconds, key=KEY)
                runs[f"{scenario.name} {mode}"] = measure(load, {"litellm": pids})
        after = sum(map(resident_bytes, (proxy.pid, *descendants(proxy.pid))))
    return Peer(
        name="LiteLLM",
        version=_version(),
        start_seconds=start_seconds,
        resident_idle_bytes=idle,
        resident_after_bytes=after,
        runs=runs,
    )


def _version() -> str:
    script = "from importlib.metadata import version; print(version('litellm'))"
    command = [str(ENVIRONMENT_PATH / "bin" / "python"), "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table(peer: Peer) -> str:
    """Its runs, in the units of our own tables."""
    rows = [
        [
            name,
            f"{run.per_second:,.0f}",
            f"{run.p50_us:,.0f}",
            f"{run.p99_us:,.0f}",
            f"{run.cpu_us.get('litellm', 0.0):,.0f}",
            f"{run.chunk_cpu_us.get('litellm', 0.0):,.0f}" if run.chunks else "-",
            f"{run.chunk_p99_us:,.0f}" if run.chunks else "-",
            str(run.failures),
        ]
        for name, run in peer.runs.items()
    ]
    head = [
        f"{peer.name} {peer.version}",
        "req/s",
        "p50 us",
        "p99 us",
        "CPU us/req",
        "us/chunk",
        "chunk p99 us",
        "failed",
    ]
    facts = {
        "workers": str(WORKERS),
        "started in": f"{peer.start_seconds:.1f} s",
        "RSS idle, after": f"{peer.resident_idle_bytes >> 20} MiB, {peer.resident_after_bytes >> 20} MiB",
    }
    return f"{report.pairs(facts)}\n\n{report.table(head, rows)}"
