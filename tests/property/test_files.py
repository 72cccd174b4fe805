"""Any bytes in a file give objects or diagnostics, never an exception, and places that exist."""

import os
import tempfile
from pathlib import Path

import yaml
from headgate.compiler.reading import read_object
from headgate.compiler.resources.kinds import KINDS
from headgate.compiler.resources.metadata import NOWHERE
from headgate.controller.sources.files import load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Loading is cheap, but Hypothesis' own start is not on a busy machine.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = (
    ["apiVersion", "kind", "metadata", "spec", "items", "List", "name", "rules", "backendRefs", "data", "stringData"]
    + [kind.name for kind in KINDS]
    + [f"{kind.group}/{kind.served[0]}" if kind.group else kind.served[0] for kind in KINDS]
    + [": ", "- ", "\n", "\n  ", "---\n", "{", "}", "[", "]", "&a ", "*a", "<<: ", "|\n", '"', "'", "#", "!!str ", "? "]
)
yaml_like = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=40).map("".join)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
names = st.sampled_from(
    [
        "name",
        "namespace",
        "rules",
        "backendRefs",
        "matches",
        "headers",
        "value",
        "type",
        "targetRefs",
        "group",
        "kind",
        "weight",
        "listeners",
        "tls",
        "port",
        "protocol",
        "endpoints",
        "fqdn",
        "hostname",
        "ip",
        "address",
        "schema",
        "prefix",
        "rateLimit",
        "global",
        "limit",
        "requests",
        "unit",
        "cost",
        "from",
        "number",
        "metadata",
        "retry",
        "timeout",
        "apiKeyAuth",
        "jwt",
        "providers",
        "cors",
        "validation",
        "data",
        "stringData",
        "labels",
        "annotations",
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def load_bytes(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}")
        path.write_bytes(content)
        before = load([path], environment={})
        again = load([path], environment=os.environ, previous=before)
    lines = content.count(b"\n") + content.count(b"\r") + 1  # as editors count them
    assert all(0 <= each.line <= lines for each in before.diagnostics)
    assert again.world == before.world


@relaxed
@given(content=st.binary(max_size=200) | yaml_like.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_of_yaml(content: bytes) -> None:
    load_bytes(content, ".yaml")


@relaxed
@given(content=st.binary(max_size=200) | trees.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode()))
def test_any_bytes_of_json(content: bytes) -> None:
    load_bytes(content, ".json")


@relaxed
@given(kind=st.sampled_from(KINDS), tree=trees, metadata=trees)
def test_any_object(kind: object, tree: object, metadata: object) -> None:
    row = KINDS[KINDS.index(kind)]
    api_version = f"{row.group}/{row.served[0]}" if row.group else row.served[0]
    raw = {"apiVersion": api_version, "kind": row.name, "metadata": metadata, "spec": tree, "data": tree}
    reading = read_object(raw, NOWHERE)
    assert reading.resource is None or reading.rejected is None
    if reading.resource is None:
        assert reading.diagnostics
    named = read_object({**raw, "metadata": {"name": "x"}}, NOWHERE)
    assert (named.resource is None) == (named.rejected is not None)


@relaxed
@given(tree=trees)
def test_yaml_reads_what_yaml_writes(tree: object) -> None:
    load_bytes(yaml.safe_dump(tree).encode(), ".yaml")
