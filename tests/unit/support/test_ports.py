"""Ports that tests give to programs: nobody else takes one between choosing and binding."""

import socket
import subprocess
import sys
from pathlib import Path

from support.ports import LOOPBACK, free_port, free_ports

TESTS = Path(__file__).parents[2]


def test_ports_are_below_those_that_the_kernel_gives_to_clients() -> None:
    low, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(port < low for port in free_ports(50))


def test_port_that_was_given_is_not_given_again_soon() -> None:
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == 100


def test_port_in_use_is_passed_over() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, taken := free_port()))
        server.listen()
        assert taken not in [free_port() for _ in range(249)]


def test_two_processes_are_given_different_ports() -> None:
    ask = [sys.executable, "-c", "from support.ports import free_ports; print(*free_ports(100))"]
    other = subprocess.run(ask, cwd=TESTS, capture_output=True, text=True, check=True).stdout.split()
    assert len(other) == 100
    assert not set(map(int, other)) & {free_port() for _ in range(250)}
