"""Ports that tests give to programs: nobody else takes one between choosing and binding."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.ports import LOOPBACK, blocks_outside, ephemeral_range, free_port, free_ports

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("low", "high"), [(32_768, 60_999), (1_024, 60_999), (15_000, 64_000), (20_100, 20_200), (49_152, 65_535)]
)
def test_no_block_has_a_port_that_the_kernel_gives_to_clients(low: int, high: int) -> None:
    blocks = blocks_outside(low, high)
    assert blocks
    assert not any(low <= port <= high for block in blocks for port in range(block, block + 250))
    assert all(block + 250 <= 65_536 for block in blocks)


def test_where_the_kernel_gives_all_ports_to_clients_tests_take_of_them() -> None:
    assert blocks_outside(1_024, 65_535)


def test_ports_come_from_a_block_outside_the_kernels_range() -> None:
    blocks = blocks_outside(*ephemeral_range())
    assert all(port - port % 250 in blocks for port in free_ports(50))


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
