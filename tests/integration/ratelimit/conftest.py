"""Every storage: a test that takes `storage` runs with each, and so holds them to the same rules."""

from collections.abc import AsyncIterator

import pytest
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer
from support.redis_topologies import RedisCluster

REDIS = pytest.param("redis_server", marks=pytest.mark.redis, id="redis")
CLUSTER = pytest.param("redis_cluster", marks=pytest.mark.redis, id="cluster")


def _made(request: pytest.FixtureRequest) -> Storage:
    if request.param == "memory":
        return MemoryStorage()
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    return RedisStorage(server.url, timeout_seconds=5.0)


@pytest.fixture(params=["memory", REDIS, CLUSTER])
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    made = _made(request)
    yield made
    await made.close()


@pytest.fixture(params=["memory", REDIS])
async def ordered_storage(request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    """In a cluster, what another request has taken for a moment may refuse one that would fit."""
    made = _made(request)
    yield made
    await made.close()
