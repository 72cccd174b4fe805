import asyncio
import json
import logging
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headgate.runtime import envoy
from headgate.runtime.envoy import (
    EnvoyAdmin,
    EnvoyAdminError,
    EnvoyMissingError,
    EnvoyOptions,
    bootstrap,
    envoy_child,
    find_envoy,
    log_envoy_line,
)
from headgate.runtime.logging import LogLevel
from headgate.runtime.pod_bootstrap import pod_bootstrap, pod_heap
from support.waiting import until


def options(directory: Path, level: LogLevel = LogLevel.WARNING) -> EnvoyOptions:
    xds_socket = directory / "xds.sock"
    return EnvoyOptions(
        binary=find_envoy(),
        state_directory=directory,
        xds_socket=xds_socket,
        concurrency=2,
        log_level=level,
        heap_bytes_max=1 << 30,
    )


@pytest.mark.envoy
def test_envoy_accepts_the_bootstrap(tmp_path: Path) -> None:
    spec = envoy_child(options(tmp_path))
    checked = subprocess.run([*spec.command, "--mode", "validate"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.envoy
def test_envoy_accepts_the_bootstrap_of_pods(tmp_path: Path) -> None:
    made = tmp_path / "envoy.json"
    made.write_text(json.dumps(pod_bootstrap("localhost", 18000)).replace("/etc/headgate/envoy", str(tmp_path)))
    for name in ("certificate", "authorities"):
        (tmp_path / f"{name}.json").write_text('{"resources": []}')
    command = [find_envoy(), "--config-path", made, "--config-yaml", json.dumps(pod_heap("1073741824"))]
    checked = subprocess.run(
        [*command, "--service-node", "pod", "--mode", "validate"], capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr


def test_whether_a_pod_lives_is_told_under_any_load() -> None:
    """Else Envoy would be killed for what its clients do."""
    (pages,) = json.loads(json.dumps(pod_bootstrap("localhost", 18000)))["static_resources"]["listeners"]
    assert pages["bypass_overload_manager"]
    assert pages["ignore_global_conn_limit"]


def test_the_command_says_what_matters(tmp_path: Path) -> None:
    command = envoy_child(options(tmp_path, LogLevel.DEBUG)).command
    assert "--disable-hot-restart" in command
    assert command[command.index("--concurrency") + 1] == "2"
    assert command[command.index("--log-level") + 1] == "info", "Envoy's debug log holds requests and secrets"


def test_configuration_comes_by_delta_ads_and_is_waited_for(tmp_path: Path) -> None:
    made = json.loads(json.dumps(bootstrap(options(tmp_path))))
    dynamic = made["dynamic_resources"]
    assert dynamic["ads_config"]["api_type"] == "DELTA_GRPC"
    assert dynamic["lds_config"]["initial_fetch_timeout"] == "0s"
    assert made["admin"]["address"]["pipe"]["path"] == str(tmp_path / "envoy-admin.sock")


def test_a_binary_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EnvoyMissingError, match=r"no Envoy at /no/such: not an executable file"):
        find_envoy("/no/such")
    (tmp_path / "envoy").write_text("not executable")
    with pytest.raises(EnvoyMissingError):
        find_envoy(str(tmp_path / "envoy"))


@pytest.mark.parametrize(
    ("line", "level", "event"),
    [
        ("[warning][config] something odd", logging.WARNING, "envoy_log"),
        ("[critical][main] it is over", logging.ERROR, "envoy_log"),
        ("[warning][misc] message 'x' is marked as work-in-progress. And so on", logging.DEBUG, "envoy_log"),
        ("no structure at all", logging.WARNING, "envoy_output"),
    ],
)
def test_log_lines_become_events(line: str, level: int, event: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="headgate"):
        log_envoy_line("envoy", line)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, event)


class FakeAdmin:
    """Answers every request on a unix socket with prepared bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer = b""
        self.requests: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.decode().split("\r\n")[0])
        writer.write(self.answer)
        writer.close()


@pytest.fixture
async def fake_admin(short_path: Path) -> AsyncIterator[FakeAdmin]:
    fake = FakeAdmin(short_path / "admin.sock")
    server = await asyncio.start_unix_server(fake.serve, str(fake.path))
    yield fake
    server.close()
    await server.wait_closed()


async def test_the_admin_interface_is_read_chunked_or_whole(fake_admin: FakeAdmin) -> None:
    admin = EnvoyAdmin(fake_admin.path)
    fake_admin.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nLIV\r\n2\r\nE\n\r\n0\r\n\r\n"
    assert await admin.request("/ready") == "LIVE\n"
    assert await admin.is_live()
    fake_admin.answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\nPRE_INITIALIZING\n"
    assert not await admin.is_live()
    assert fake_admin.requests == ["GET /ready HTTP/1.1"] * 3


async def test_requests_of_the_admin_interface_itself_are_not_counted(fake_admin: FakeAdmin) -> None:
    names = ("http.admin.downstream_rq_active", "http.a.downstream_rq_active", "http.b.downstream_rq_active")
    stats = [{"name": name, "value": 2} for name in names] + [{"histograms": {}}]
    fake_admin.answer = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"stats": stats}).encode()
    assert await EnvoyAdmin(fake_admin.path).requests_active() == 4


async def test_an_admin_interface_that_is_gone_is_an_error(tmp_path: Path) -> None:
    admin = EnvoyAdmin(tmp_path / "none.sock")
    assert not await admin.is_live()
    with pytest.raises(EnvoyAdminError, match="does not answer"):
        await admin.request("/ready")
    assert not await admin.drain(0.1)


async def test_a_refusal_of_the_admin_interface_is_an_error(fake_admin: FakeAdmin) -> None:
    fake_admin.answer = b"HTTP/1.1 404 Not Found\r\n\r\nno such page"
    with pytest.raises(EnvoyAdminError, match="404"):
        await EnvoyAdmin(fake_admin.path).request("/nonsense")


async def test_an_endless_page_is_not_read_to_its_end(fake_admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "_ADMIN_BYTES_MAX", 100_000)
    fake_admin.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000
    with pytest.raises(EnvoyAdminError, match="more than 100000 bytes"):
        await EnvoyAdmin(fake_admin.path).request("/stats/prometheus")


async def test_what_is_no_http_is_an_error(fake_admin: FakeAdmin) -> None:
    fake_admin.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n"
    with pytest.raises(EnvoyAdminError, match="no HTTP"):
        await EnvoyAdmin(fake_admin.path).request("/ready")


def stats(**values: int) -> bytes:
    """A page of Envoy's; `__` in names is a dot."""
    found = [{"name": name.replace("__", "."), "value": value} for name, value in values.items()]
    return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"stats": found}).encode()


async def test_what_was_written_is_unsent_until_it_is_on_the_wire(fake_admin: FakeAdmin) -> None:
    admin = EnvoyAdmin(fake_admin.path)
    counts = {"access_logs__grpc_access_log__logs_written": 7, "access_logs__grpc_access_log__grpc_entries_flushed": 5}
    fake_admin.answer = stats(**counts)
    assert await admin.unsent() == 2
    assert not await admin.flush(0.1)
    counts["access_logs__grpc_access_log__grpc_entries_flushed"] = 7
    fake_admin.answer = stats(**counts, cluster__a__upstream_rq_pending_active=1)
    assert await admin.unsent() == 1, "for want of a connection"
    fake_admin.answer = stats(**counts, cluster__a__upstream_cx_tx_bytes_buffered=0)
    asked = len(fake_admin.requests)
    assert await admin.flush()
    assert len(fake_admin.requests) == asked + 3, "once more, for an entry that is being written, and once for OTLP"


async def test_nothing_is_unsent_where_nothing_is_logged_or_asked(fake_admin: FakeAdmin, tmp_path: Path) -> None:
    fake_admin.answer = stats()
    assert await EnvoyAdmin(fake_admin.path).flush()
    assert not await EnvoyAdmin(tmp_path / "none.sock").flush()


async def test_what_goes_over_otlp_is_waited_for(fake_admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy tells what a receiver took, not what it gathers: of the rest, how many requests it may be."""
    monkeypatch.setattr(envoy, "_GATHERED_SECONDS", 0.0)
    monkeypatch.setattr(envoy, "_TAKEN_SECONDS_MAX", 60.0)
    admin = EnvoyAdmin(fake_admin.path)
    ours = {"http__a__downstream_rq_completed": 5, "http__admin__downstream_rq_completed": 9}
    logs = {"access_logs__open_telemetry_access_log__logs_dropped": 1}
    taken = "access_logs__open_telemetry_access_log__logs_written"
    fake_admin.answer = stats(**ours)
    assert await admin.untold() is None, "no log goes there"
    fake_admin.answer = stats(**logs, **{taken: 0}, http__a__downstream_rq_completed=0)
    assert await admin.untold() is None
    fake_admin.answer = stats(**ours, **logs, **{taken: 2})
    assert await admin.untold() == 2
    waiting = asyncio.create_task(admin.flush())
    asked = len(fake_admin.requests)
    await until(lambda: len(fake_admin.requests) > asked + 5, "more questions")
    assert not waiting.done()
    fake_admin.answer = stats(**ours, **logs, **{taken: 4})
    assert await waiting


async def test_logs_that_leave_requests_out_are_not_waited_for_for_ever(
    fake_admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy, "_TAKEN_SECONDS_MAX", 0.0)
    taken = {"access_logs__open_telemetry_access_log__logs_written": 0}
    fake_admin.answer = stats(http__a__downstream_rq_completed=5, **taken)
    assert await EnvoyAdmin(fake_admin.path).flush()


async def test_drain_waits_for_requests_only_so_long(fake_admin: FakeAdmin) -> None:
    busy = json.dumps({"stats": [{"name": "http.a.downstream_rq_active", "value": 1}]}).encode()
    fake_admin.answer = b"HTTP/1.1 200 OK\r\n\r\n" + busy
    assert not await EnvoyAdmin(fake_admin.path).drain(0.05)
    fake_admin.answer = fake_admin.answer.replace(b'"value": 1', b'"value": 0')
    assert await EnvoyAdmin(fake_admin.path).drain(5)
    assert fake_admin.requests[0] == "POST /drain_listeners?graceful&skip_exit HTTP/1.1"
