"""What lets browsers read the gateway's own answers, evaluated as Envoy would: by host, then by origin."""

from collections.abc import Sequence
from typing import Any

import celpy
import pytest
from celpy.adapter import json_to_cel
from headgate.compiler import ir
from headgate.compiler.lower.filters.security import reply_headers

Hosts = Sequence[tuple[str, ir.Cors | None]]
ONE = ir.Cors(allow_origins=(ir.TextMatch("", ir.MatchKind.EXACT, "https://it's.test"),), allow_credentials=True)
ANY = ir.Cors(
    allow_origins=(ir.TextMatch("", ir.MatchKind.REGEX, r"https://.*\.any\.test"),), expose_headers=("a", "b")
)
HOSTS: Hosts = [("one.test", ONE), ("*.test", ANY), ("closed.deep.test", None), ("*", None)]


def said(hosts: Hosts, host: str, **headers: str) -> dict[str, str]:
    found: dict[str, str] = {}
    environment: Any = celpy.Environment()
    for option in reply_headers(hosts):
        text = option.header.value.removeprefix("%CEL(").removesuffix(")%")
        program = environment.program(environment.compile(text))
        value = program.evaluate({"request": json_to_cel({"host": host, "headers": headers})})
        if value:
            found[option.header.key] = str(value)
    return found


@pytest.mark.parametrize("host", ["one.test", "ONE.test", "one.test:8080"])
def test_the_policy_is_the_hosts_own(host: str) -> None:
    assert said(HOSTS, host, origin="https://it's.test") == {
        "access-control-allow-origin": "https://it's.test",
        "access-control-allow-credentials": "true",
    }
    assert not said(HOSTS, host, origin="https://x.any.test")


def test_a_wider_host_has_its_own() -> None:
    assert said(HOSTS, "two.test", origin="https://x.any.test") == {
        "access-control-allow-origin": "https://x.any.test",
        "access-control-expose-headers": "a, b",
    }
    assert not said(HOSTS, "two.test", origin="https://it's.test")
    assert not said(HOSTS, "two.test", origin="https://x.any.test.evil")


@pytest.mark.parametrize("host", ["closed.deep.test", "elsewhere"])
def test_a_host_without_a_policy_says_nothing(host: str) -> None:
    assert not said(HOSTS, host, origin="https://it's.test")


def test_a_request_without_an_origin_is_told_nothing() -> None:
    assert not said(HOSTS, "one.test")


def test_without_a_policy_there_are_no_headers() -> None:
    assert not list(reply_headers([("*", None)]))
