"""Every schema that a backend may name means a dialect at a host that serves it."""

import pytest
from headgate.compiler.resolve.backends import DIALECTS_DECLARED, SCHEMAS
from headgate.llm.hosts.table import HOSTS

KNOWN = {**SCHEMAS, **DIALECTS_DECLARED}


@pytest.mark.parametrize("name", KNOWN)
def test_a_schemas_host_serves_its_dialect(name: str) -> None:
    assert KNOWN[name].dialect in HOSTS[KNOWN[name].host].dialects
