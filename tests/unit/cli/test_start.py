"""What `headgate run` checks before it starts anything."""

import json
import socket
from pathlib import Path

import pytest
from headgate.cli.console import Console
from headgate.cli.listeners import Address, addresses, refers_to_cluster
from headgate.cli.main import COMMANDS, main
from headgate.cli.ports import unusable
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory
from headgate.controller.xds.resource_types import LISTENER
from headgate.runtime.logging import LogFormat
from support.ads import listener_json, messages_of
from support.ports import free_port
from support.xds import cluster, listener, route, snapshot


def test_a_temporary_state_folder_goes_with_its_user() -> None:
    state = StateDirectory()
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert state.limits.is_dir()
    state.close()
    assert not state.path.exists()


def test_a_given_state_folder_stays_and_is_cleaned_of_sockets(tmp_path: Path) -> None:
    (tmp_path / "old.sock").touch()
    state = StateDirectory(tmp_path)
    assert not (tmp_path / "old.sock").exists()
    state.xds_socket.touch()
    state.files.mkdir()
    (state.files / "credentials").touch()
    state.close()
    assert not state.files.exists()
    assert tmp_path.exists()
    assert not state.xds_socket.exists()


def test_a_state_folder_has_one_user(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    with pytest.raises(StartError, match="another headgate uses the state folder"):
        StateDirectory(tmp_path)
    first.close()
    StateDirectory(tmp_path).close()


def test_a_state_folder_that_is_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="too long for sockets"):
        StateDirectory(tmp_path / ("x" * 100))


def test_a_state_folder_that_is_full_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "xds.sock").mkdir()
    with pytest.raises(StartError, match=r"cannot use .*/xds.sock in the state folder: Is a directory"):
        StateDirectory(tmp_path)
    (tmp_path / "xds.sock").rmdir()
    StateDirectory(tmp_path).close()


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot use .* as state folder: Not a directory"):
        StateDirectory(tmp_path / "file" / "state")


def test_free_ports_are_usable_and_shared_ones_are_not() -> None:
    port = free_port()
    assert unusable([("127.0.0.1", port)]) is None
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        used = taken.getsockname()[1]
        assert unusable([("127.0.0.1", port), ("127.0.0.1", used)]) == (
            f"cannot listen on 127.0.0.1:{used}: the port is in use"
        )


def test_an_address_of_another_machine_is_told() -> None:
    assert unusable([("192.0.2.1", 8080)]) == "cannot listen on 192.0.2.1:8080: this machine does not have that address"


def test_listeners_tell_where_they_can_be_reached() -> None:
    found = addresses(messages_of({LISTENER: (listener_json("l", 8080, "r"),)}))
    assert found == {"l": Address("127.0.0.1", 8080, tls=False)}
    assert Address("0.0.0.0", 443, tls=True).url == "https://127.0.0.1:443"
    assert Address("::", 80, tls=False).url == "http://[::1]:80"


def test_a_server_is_needed_if_anything_refers_to_its_cluster() -> None:
    taken = snapshot(cluster("extproc"), cluster("a"), listener("l", route="r"), route("r", clusters=["a"]))
    assert refers_to_cluster(taken, "a")
    assert not refers_to_cluster(taken, "extproc")


def test_problems_are_told_once_and_their_end_too(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(LogFormat.TEXT)
    console.problems(["a", "b"])
    console.problems(["b", "c"])
    told = capsys.readouterr()
    assert told.err.splitlines() == ["a", "b", "c"]
    assert told.out.splitlines() == ["solved: a"]


def test_with_a_json_log_everything_told_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(LogFormat.JSON)
    console.ready(["http://127.0.0.1:1"], 0.5)
    console.welcome("for people")
    console.problem("p")
    told = capsys.readouterr()
    line = json.loads(told.out)
    assert (line["event"], line["url"], line["level"]) == ("ready", "http://127.0.0.1:1", "info")
    assert json.loads(told.err)["problem"] == "p"


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"headgate {command}" in capsys.readouterr().out


def test_commands_are_listed_without_importing_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(command.name in text for command in COMMANDS)
    with pytest.raises(SystemExit) as end:
        main(["nonsense"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--port", "0", "no whole number from 1 to 65535"),
        ("--port", "65536", "no whole number from 1 to 65535"),
        ("--admin-port", "-1", "no whole number from 0 to 65535"),
        ("--workers", "0", "no whole number of at least 1"),
        ("--concurrency", "two", "no whole number of at least 1"),
        ("--drain-seconds", "-0.1", "no number of seconds"),
        ("--drain-seconds", "nan", "no number of seconds"),
        ("--listen-address", "gateway.example", "no IP address"),
        ("--listen-address", "", "no IP address"),
    ],
)
def test_options_have_bounds(option: str, value: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", option, value])
    assert f"headgate run: {option}: '{value}' is {wanted} (" in capsys.readouterr().err
