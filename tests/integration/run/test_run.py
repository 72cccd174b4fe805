"""`headgate run`, as users start it: what it serves, and how it fails. How it ends: `test_ending`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from openai import OpenAI
from support.gateway import Gateway
from support.manifests import openai_gateway
from support.ports import LOOPBACK, free_port
from support.processes import alive
from support.prometheus import Page, page_when
from support.providers import ANTHROPIC, AZURE_OPENAI, OPENAI, Answer, Provider
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

Run = Callable[..., Gateway]
StartProvider = Callable[..., Provider]


def ask(url: str, model: str = "demo") -> tuple[int, str]:
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=BUSY_SECONDS)
    return response.status_code, response.text


def failing(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `headgate run` that has to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "headgate.cli.main", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=BUSY_SECONDS,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        check=False,
    )


# --- what it serves


@pytest.fixture(scope="module")
def demo() -> Iterator[Gateway]:
    """A gateway without a path, for tests that leave it as it is."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        gateway = Gateway(None, Path(directory), "--port", str(free_port()))
        yield gateway
        gateway.close()


def test_without_a_path_the_demo_answers_the_official_clients(demo: Gateway) -> None:
    with OpenAI(base_url=f"{demo.url}/v1", api_key="any", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Hello!"}]
        chunks = list(client.chat.completions.create(model="demo", messages=messages, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "demo" in text.lower()
    with Anthropic(base_url=demo.url, api_key="any", max_retries=0) as client:
        answer = client.messages.create(model="demo", max_tokens=64, messages=messages)
    assert answer.content
    assert (demo.state_path / "demo.sock").is_socket(), "no port that somebody else may have taken"


def test_what_is_printed_works_as_pasted(demo: Gateway) -> None:
    demo.wait_output("Ctrl-C")
    printed = demo.child.stdout
    curl = re.search(r"curl .*\\\n.*", printed)
    assert curl is not None
    answer = subprocess.run(["bash", "-c", curl.group().replace("curl", "curl -sS", 1)], capture_output=True, text=True)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]
    snippet = re.search(r"^ *from openai.*flush=True\)\n", printed, re.DOTALL | re.MULTILINE)
    assert snippet is not None
    python = subprocess.run([sys.executable, "-c", snippet.group()], capture_output=True, text=True)
    assert (python.returncode, python.stderr) == (0, "")
    assert "demo" in python.stdout.lower()


def test_all_of_it_speaks_ipv6(run_gateway: Run) -> None:
    """A gateway whose provider is a gateway, each with an address in brackets."""
    first = run_gateway(None, "--port", str(free_port()), "--listen-address", "::1")
    assert first.url.startswith("http://[::1]:")
    pasted = re.search(r"curl .*\\\n.*", first.wait_output(r"(?s)curl .*Ctrl-C").group())
    assert pasted is not None
    command = pasted.group().replace("curl", "curl -sS", 1)
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert json.loads(answer.stdout)["choices"], answer.stderr
    environment = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": f"{first.url}/v1"}
    second = run_gateway(None, "--port", str(free_port()), "--listen-address", "::", environment=environment)
    assert second.url.startswith("http://[::1]:")
    assert ask(second.url)[0] == 200


@pytest.mark.parametrize(
    ("key", "url", "api", "suffix", "title"),
    [
        ("OPENAI_API_KEY", "OPENAI_BASE_URL", OPENAI, "/v1", "OpenAI"),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", ANTHROPIC, "", "Anthropic"),
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", AZURE_OPENAI, "", "Azure OpenAI"),
    ],
)
def test_a_key_in_the_environment_is_a_backend(
    run_gateway: Run, start_provider: StartProvider, key: str, url: str, api: Any, suffix: str, title: str
) -> None:
    provider = start_provider(api, key="sk-from-environment")
    provider.answer(Answer(text="Hello from the provider"))
    environment = {key: "sk-from-environment", url: provider.url + suffix}
    gateway = run_gateway(None, "--port", str(free_port()), environment=environment)
    status, text = ask(gateway.url, "some-model")
    assert (status, "Hello from the provider" in text) == (200, True)
    assert f"{key} found: {title}" in gateway.output
    assert "sk-from-environment" not in gateway.output
    for file in gateway.state_path.rglob("*"):
        assert not file.is_file() or b"sk-from-environment" not in file.read_bytes(), file


def test_two_providers_share_the_models(run_gateway: Run, start_provider: StartProvider) -> None:
    openai, anthropic = start_provider(OPENAI, key="sk-o"), start_provider(ANTHROPIC, key="sk-a")
    openai.answer(Answer(text="from openai"))
    anthropic.answer(Answer(text="from anthropic"))
    gateway = run_gateway(
        None,
        "--port",
        str(free_port()),
        environment={
            "OPENAI_API_KEY": "sk-o",
            "OPENAI_BASE_URL": f"{openai.url}/v1",
            "ANTHROPIC_API_KEY": "sk-a",
            "ANTHROPIC_BASE_URL": anthropic.url,
        },
    )
    assert "from openai" in ask(gateway.url, "gpt-x")[1]
    assert "from anthropic" in ask(gateway.url, "claude-x")[1]


def test_the_admin_port_tells_what_is_going_on(run_gateway: Run) -> None:
    port = free_port()
    gateway = run_gateway(None, "--port", str(free_port()), "--admin-port", str(port))
    url = f"http://{LOOPBACK}:{port}"
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert httpx.get(f"{url}/readyz").status_code == 200
    wait_until(lambda: "ratelimit" in httpx.get(f"{url}/status").json()["children"], "the limiter to be started")
    status = httpx.get(f"{url}/status").json()
    assert status["ready"] is True
    assert status["wanted"] == status["published"] == status["accepted"] != ""
    assert status["refusals"] == []
    assert {"envoy", "demo", "extproc-0"} <= status["children"].keys()

    def told() -> str | None:
        page = httpx.get(f"{url}/metrics").text
        shown = Page(page).by("process", "process_resident_memory_bytes").keys()
        return page if {"run", "extproc-0", "ratelimit"} <= shown else None

    metrics = wait_until(told, "all processes to show their metrics")
    assert "headgate_ready 1" in metrics
    assert "envoy_server_live{} 1" in metrics
    page = Page(metrics)
    assert page.sum("headgate_controller_envoys") == page.sum("headgate_controller_pushes_total") == 1
    assert page.sum("headgate_controller_objects", kind="AIGatewayRoute", condition="Accepted", status="True") == 1
    assert "gen_ai" not in metrics, "nobody asked for it"
    assert gateway.stop() == 0


def test_metrics_are_one_option_away(run_gateway: Run) -> None:
    port = free_port()
    gateway = run_gateway(None, "--port", str(free_port()), "--metrics", "--admin-port", str(port))
    assert ask(gateway.url)[0] == 200

    def told() -> Page | None:
        return page_when(
            httpx.get(f"http://{LOOPBACK}:{port}/metrics").text,
            lambda page: page.sum("gen_ai_server_request_duration_seconds_count", gen_ai_operation_name="chat") == 1,
        )

    page = wait_until(told, "the request to be measured")
    assert page.sum("headgate_requests_total", lane="native", usage_source="reported") == 1
    assert page.sum("gen_ai_client_token_usage_token_count", gen_ai_token_type="input") == 1
    record = json.loads(gateway.wait_output(r'(\{.*"usage_source".*\})').group(1))
    assert record["provider"] == "openai", "the line is the collector's, without a ledger"
    assert gateway.stop() == 0


def test_with_json_logs_every_line_is_json(run_gateway: Run) -> None:
    gateway = run_gateway(None, "--port", str(free_port()), "--log-format", "json", "--log-level", "info")
    assert ask(gateway.url)[0] == 200
    gateway.wait_output('"request_id"')
    assert gateway.stop() == 0
    events = [json.loads(line) for line in gateway.output.splitlines()]
    names = [line.get("event") for line in events]
    assert {"progress", "ready", "snapshot_applied"} <= set(names)


# --- changes


def test_a_saved_change_is_live_and_a_broken_one_changes_nothing(
    run_gateway: Run, start_provider: StartProvider
) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="hi"))
    port = free_port()
    gateway = run_gateway(openai_gateway(port, provider, "first"))
    assert ask(gateway.url, "first")[0] == 200
    assert ask(gateway.url, "second")[0] == 404
    gateway.write(openai_gateway(port, provider, "second"))
    wait_until(lambda: ask(gateway.url, "second")[0] == 200, "the change to be live")
    broken = openai_gateway(port, provider, "third").replace("parentRefs: [", "parentRefs: [[", 1)
    gateway.write(broken)
    gateway.wait_output(r"gateway\.yaml:\d+:\d+: error: .*last good version stays in force")
    assert ask(gateway.url, "second")[0] == 200
    dangling = openai_gateway(port, provider, "third").replace("backendRefs: [{name: ", "backendRefs: [{name: no-")
    assert dangling != openai_gateway(port, provider, "third")
    gateway.write(dangling)
    gateway.wait_output(r"gateway\.yaml:\d+: error: AIGatewayRoute .*no-.*last good version stays in force")
    assert [ask(gateway.url, model)[0] for model in ("second", "third")] == [200, 404]
    gateway.write(openai_gateway(port, provider, "third"))
    wait_until(lambda: ask(gateway.url, "third")[0] == 200, "the mended change to be live")
    gateway.wait_output(r"solved: .*gateway\.yaml")


def test_a_new_listener_is_told_and_served(run_gateway: Run, start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="hi"))
    first, second = free_port(), free_port()
    text = openai_gateway(first, provider, "m")
    gateway = run_gateway(text)
    gateway.write(text.replace("listeners:", f"listeners:\n  - {{name: more, protocol: HTTP, port: {second}}}"))
    gateway.wait_output(rf"ready  http://127\.0\.0\.1:{second}\n")
    assert [ask(f"http://127.0.0.1:{port}", "m")[0] for port in (first, second)] == [200, 200]


def test_changes_fail_no_request_in_flight(run_gateway: Run, start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="hi"))
    port = free_port()
    gateway = run_gateway(openai_gateway(port, provider, "m"))
    stop, statuses = threading.Event(), list[int]()

    def load() -> None:
        with httpx.Client() as client:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}
            while not stop.is_set():
                statuses.append(client.post(f"{gateway.url}/v1/chat/completions", json=body).status_code)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for generation in range(5):
        name = f"backend-{generation}"
        gateway.write(openai_gateway(port, provider, "m").replace("name: openai}", f"name: {name}}}"))
        extra = f"probe-{generation}"
        gateway.write(_route_of(extra, name), "probe.yaml")
        wait_until(lambda extra=extra: ask(gateway.url, extra)[0] == 200, "the change to be live")
    stop.set()
    for thread in threads:
        thread.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}


def _route_of(model: str, backend: str) -> str:
    return f"""
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIGatewayRoute
metadata: {{name: probe}}
spec:
  parentRefs: [{{name: headgate}}]
  rules:
  - matches: [{{headers: [{{name: x-ai-eg-model, value: {model}}}]}}]
    backendRefs: [{{name: {backend}}}]
"""


# --- how it fails


def one_line(failed: subprocess.CompletedProcess[str]) -> str:
    """The only line on standard error of a run that could not start."""
    assert failed.returncode == 1, failed
    (line,) = failed.stderr.splitlines()
    return line


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert (
            one_line(failing("--port", str(port))) == f"headgate: cannot listen on 127.0.0.1:{port}: the port is in use"
        )


def test_an_ipv6_port_in_use_is_told_in_brackets() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        ended = failing("--port", str(port), "--listen-address", "::1")
    assert ended.returncode == 1
    assert f"cannot listen on [::1]:{port}: the port is in use" in ended.stderr


def test_an_admin_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = one_line(failing("--port", str(free_port()), "--admin-port", str(port)))
        assert line == f"headgate: cannot listen on 127.0.0.1:{port}: the port is in use"


def test_a_missing_envoy_is_one_clear_line() -> None:
    line = one_line(failing("--envoy", "/no/such/envoy"))
    assert line == "headgate: no Envoy at /no/such/envoy: not an executable file"


def test_an_envoy_that_ends_at_once_is_one_clear_line(tmp_path: Path) -> None:
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\necho 'wrong architecture' >&2\nexit 3\n")
    broken.chmod(0o755)
    line = one_line(failing("--envoy", str(broken), "--port", str(free_port())))
    assert line == "headgate: envoy ended: wrong architecture"


def test_a_missing_file_is_one_clear_line() -> None:
    assert one_line(failing("/no/such.yaml")) == "headgate: cannot read /no/such.yaml: No such file or directory"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--access-log", "/no/such/log", "cannot write /no/such/log: No such file or directory"),
        ("--ledger", "mysql://x", "--ledger: usage is kept in SQLite (a path, or sqlite:///PATH) or in Postgres"),
        ("--log-request-header-attributes", "x", "request header attributes: 'x' is not HEADER:ATTRIBUTE"),
    ],
)
def test_what_an_option_names_in_vain_is_one_clear_line(option: str, value: str, said: str) -> None:
    assert one_line(failing("--port", str(free_port()), option, value)).startswith(f"headgate: {said}")


def test_a_bad_redis_url_is_one_clear_line() -> None:
    line = one_line(failing("--port", str(free_port()), "--redis-url", "nonsense://x"))
    assert line.startswith("headgate: ")
    assert "--redis-url" in line


def test_a_key_without_its_endpoint_is_one_clear_line() -> None:
    line = one_line(failing(environment={"AZURE_OPENAI_API_KEY": "k"}))
    assert line == "headgate: AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not"


def test_a_state_folder_in_use_is_one_clear_line(demo: Gateway) -> None:
    line = one_line(failing("--state-dir", str(demo.state_path), "--port", str(free_port())))
    assert line == f"headgate: another headgate uses the state folder {demo.state_path}"


def test_files_that_serve_nothing_end_it_after_all_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [\n")
    failed = failing(str(tmp_path))
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert str(tmp_path / "a.yaml") in lines[0]
    assert lines[-1].startswith("headgate: nothing can be served")


@pytest.mark.parametrize("redirected", ["<&-", ">&-", "2>&-", ">/dev/full", "2>/dev/full"])
def test_streams_that_nobody_reads_harm_nobody(
    tmp_path: Path, short_path: Path, start_provider: StartProvider, redirected: str
) -> None:
    """A shell's `2>&-` closes a stream, so that the next file that is opened gets its number."""
    provider, port = start_provider(OPENAI), free_port()
    file, url = tmp_path / "gateway.yaml", f"http://{LOOPBACK}:{port}"
    text = openai_gateway(port, provider, "first").replace("---", "---\nkind: Unknown\n---", 1)
    file.write_text(text)
    command = f"exec {sys.executable} -m headgate.cli.main run {file} --access-log '' {redirected}"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(short_path)}
    with subprocess.Popen(["sh", "-c", command], env=environment, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: translates(url), "the gateway and its processor to answer")
            file.write_text(text.replace("first", "second"))
            wait_until(lambda: ask(url, "second")[0] == 200, "the change to be live")
        finally:
            process.terminate()
            process.wait(BUSY_SECONDS)


def test_a_file_as_standard_output_has_every_line_whole(
    tmp_path: Path, short_path: Path, start_provider: StartProvider
) -> None:
    """A shell's `>` does not append: what Envoy, which does, has written must not be written over."""
    provider, port = start_provider(OPENAI), free_port()
    file, told, url = tmp_path / "gateway.yaml", tmp_path / "told", f"http://{LOOPBACK}:{port}"
    file.write_text(openai_gateway(port, provider, "first"))
    told.touch()
    command = f"exec {sys.executable} -m headgate.cli.main run {file} >{told} 2>&1"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(short_path)}

    def models_told() -> list[str]:
        lines = told.read_text().splitlines()
        return [json.loads(line)["original_model"] for line in lines if line.startswith("{")]

    with subprocess.Popen(["sh", "-c", command], env=environment) as process:
        try:
            wait_until(lambda: f"ready  {url}" in told.read_text(), "the gateway to be ready")
            assert ask(url, "first")[0] == 200
            wait_until(lambda: models_told() == ["first"], "the request's line")
            file.write_text(openai_gateway(port, provider, "second"))
            wait_until(lambda: "changed, live after" in told.read_text(), "the change to be told")
        finally:
            process.terminate()
            process.wait(BUSY_SECONDS)
    assert models_told() == ["first"]


def translates(url: str) -> bool:
    """Whether an Anthropic client is answered by the model `first` of an OpenAI server."""
    body = {"model": "first", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}
    try:
        return httpx.post(f"{url}/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}).is_success
    except httpx.TransportError:
        return False


def test_a_full_state_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "envoy.json").symlink_to("/dev/full")
    line = one_line(failing("--state-dir", str(tmp_path), "--port", str(free_port())))
    assert line == f"headgate: cannot write into {tmp_path}: No space left on device"


def test_nothing_is_left_after_a_failed_start(tmp_path: Path) -> None:
    failed = failing("--envoy", "/no/such/envoy", environment={"TMPDIR": str(tmp_path)})
    assert failed.returncode == 1
    assert list(tmp_path.iterdir()) == []


# --- how it lives and ends


def test_a_killed_child_is_started_again(run_gateway: Run) -> None:
    gateway = run_gateway(None, "--port", str(free_port()))

    def answers() -> bool:
        try:
            return ask(gateway.url)[0] == 200 and ask(gateway.url, "demo-claude")[0] == 200
        except httpx.TransportError:
            return False

    for kind in ("envoy", "extproc", "ratelimit", "demo"):
        (pid, *_) = wait_until(lambda kind=kind: gateway.processes().get(kind), f"{kind} to run")
        os.kill(pid, signal.SIGKILL)
        gateway.wait_output(rf"child_died child={kind}.*SIGKILL.*restart_in_seconds")
        wait_until(
            lambda kind=kind, pid=pid: [each for each in gateway.processes().get(kind, ()) if each != pid],
            f"{kind} to run again",
        )
        wait_until(answers, f"the gateway to answer again after {kind} was killed")
    assert gateway.stop() == 0


def test_while_a_server_restarts_its_socket_waits_for_it(run_gateway: Run) -> None:
    gateway = run_gateway(None, "--port", str(free_port()), "--workers", "1")
    for kind, path in (("extproc", "extproc-0.sock"), ("ratelimit", "ratelimit.sock")):
        (pid,) = wait_until(lambda kind=kind: gateway.processes().get(kind), f"{kind} to run")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not alive(pid), f"{kind} to be gone")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(BUSY_SECONDS)
            caller.connect(str(gateway.state_path / path))
            assert caller.recv(1), f"nobody answered for {kind}"
