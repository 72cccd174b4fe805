"""Several Redis servers as one: a cluster, and a master with a replica that sentinels watch."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.redis import RedisServer, redis_binary
from support.waiting import wait_until

BUS_OFFSET = 10_000
"""A cluster's nodes talk to each other on their port plus this."""
SLOTS = 16384


def cluster_port() -> int:
    while True:
        port = free_port()
        if port + BUS_OFFSET < 65536:
            return port


class RedisCluster:
    """Masters that share the slots, and a replica of the first."""

    def __init__(self, directory: Path, *, masters: int = 3, replica: bool = False) -> None:
        self._stack = ExitStack()
        try:
            self.nodes = [self._start(directory / f"node{i}") for i in range(masters + replica)]
            self._join(masters, replica=replica)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, directory: Path) -> RedisServer:
        directory.mkdir()
        arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "600", "--cluster-config-file", "nodes.conf")
        arguments += ("--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "yes")
        return self._stack.enter_context(RedisServer(directory, *arguments, port=cluster_port()))

    def _join(self, masters: int, *, replica: bool) -> None:
        for index, node in enumerate(self.nodes[:masters]):
            slots = range(index * SLOTS // masters, (index + 1) * SLOTS // masters)
            for first in range(0, len(slots), 4096):  # a line is 64 KiB at most
                some = " ".join(map(str, slots[first : first + 4096]))
                assert node.command(f"CLUSTER ADDSLOTS {some}") == b"+OK\r\n"
        for node in self.nodes[1:]:
            assert node.command(f"CLUSTER MEET {LOOPBACK} {self.nodes[0].port}") == b"+OK\r\n"
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), "the cluster to be whole")
        if replica:
            master_id = self.nodes[0].command("CLUSTER MYID").split(b"\r\n")[1].decode()
            answer = b""

            def replicates() -> bool:
                nonlocal answer
                answer = self.nodes[-1].command(f"CLUSTER REPLICATE {master_id}")
                return answer == b"+OK\r\n"

            wait_until(replicates, "the replica to be taken")
            link_up = b"master_link_status:up"
            wait_until(lambda: link_up in self.nodes[-1].command("INFO replication"), "the replica to follow")

    def _knows_all(self, node: RedisServer) -> bool:
        info = node.command("CLUSTER INFO")
        return b"cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}".encode() in info

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def stored_keys(self) -> set[str]:
        lines: list[str] = []
        for node in self.nodes:
            if b"role:master" in node.command("INFO replication"):
                lines += node.command("KEYS *").decode().split("\r\n")[1:]
        return {line for line in lines if line[:1] not in ("", "$")}

    def flush(self) -> None:
        for node in self.nodes:
            if b"role:master" in node.command("INFO replication"):
                node.flush()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RedisSentinel:
    """A master and its replica, watched by one sentinel; another sentinel that is named is not there."""

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        self._directory = directory
        self.port = free_port()
        self._dead_port = free_port()
        try:
            self.master = self._start("a")
            self.replica = self._start("b", "--replicaof", LOOPBACK, str(self.master.port))
            link_up = b"master_link_status:up"
            wait_until(lambda: link_up in self.replica.command("INFO replication"), "the replica to follow")
            self._watch()
        except BaseException:
            self._stack.close()
            raise

    def _start(self, name: str, *arguments: str) -> RedisServer:
        directory = self._directory / name
        directory.mkdir()
        return self._stack.enter_context(RedisServer(directory, "--repl-diskless-sync-delay", "0", *arguments))

    def _watch(self) -> None:
        path = self._directory / "sentinel.conf"
        path.write_text(
            f"port {self.port}\nbind {LOOPBACK}\nsentinel monitor limits {LOOPBACK} {self.master.port} 1\n"
            "sentinel down-after-milliseconds limits 400\nsentinel failover-timeout limits 2000\n"
        )
        command = [str(redis_binary()), str(path), "--sentinel"]
        self.child = self._stack.enter_context(Child(command, directory=self._directory, name="sentinel"))
        wait_until(self._sees_replica, "the sentinel to see the replica")

    def _sees_replica(self) -> bool:
        self.child.require_alive()
        try:
            return b"num-slaves\r\n$1\r\n1" in self.command("SENTINEL MASTER limits")
        except ConnectionError:
            return False

    def command(self, line: str) -> bytes:
        """Of the sentinel."""
        return RedisServer.ask(self.port, line)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{LOOPBACK}:{self._dead_port},{LOOPBACK}:{self.port}/limits"

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
