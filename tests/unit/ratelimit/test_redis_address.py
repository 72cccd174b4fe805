"""A Redis by its URL."""

import pytest
from headgate.ratelimit.storages.redis.address import Address, Topology, parse_url


@pytest.mark.parametrize(
    ("url", "topology", "addresses"),
    [
        ("redis://h", Topology.SINGLE, (Address("h", 6379),)),
        ("redis://h:1/2", Topology.SINGLE, (Address("h", 1),)),
        ("redis://[::1]:1", Topology.SINGLE, (Address("::1", 1),)),
        ("unix:///run/r.sock?db=2", Topology.SINGLE, (Address(path="/run/r.sock"),)),
        ("redis+sentinel://a,b:5/m/2", Topology.SENTINEL, (Address("a", 26379), Address("b", 5))),
        ("redis+cluster://a:1,b", Topology.CLUSTER, (Address("a", 1), Address("b", 6379))),
    ],
)
def test_says_where(url: str, topology: Topology, addresses: tuple[Address, ...]) -> None:
    read = parse_url(url)
    assert (read.topology, read.addresses) == (topology, addresses)
    assert read.access.database == (2 if "2" in url.partition("//")[2] else 0)
    assert read.access.tls is None


def test_says_how() -> None:
    read = parse_url("rediss+sentinel://u:p%40ss@a/m%2Fn?ssl_check_hostname=false&sentinel_auth=su:sp")
    assert (read.access.user, read.access.password, read.master) == ("u", "p@ss", "m/n")
    assert (read.sentinel_access.user, read.sentinel_access.password) == ("su", "sp")
    assert read.access.tls is not None
    assert not read.access.tls.check_hostname
    assert "p@ss" not in repr(read)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "expected redis://"),
        ("redis://", "expected host:port, found ''"),
        ("redis://h:x", "expected host:port, found 'h:x'"),
        ("redis://a,b", "several addresses need"),
        ("redis://h/x", "expected the number of a database, found 'x'"),
        ("redis://h?x=1", "unknown option 'x'"),
        ("redis+sentinel://a", "expected the master's name"),
        ("unix://", "expected the path of a socket"),
    ],
)
def test_what_is_wrong_is_named(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_url(url)
