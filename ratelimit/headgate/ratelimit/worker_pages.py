"""The pages of the admin port in front of several workers: each is asked over a socket of its own, and what they answer
is one answer.

They share their counters, which are in Redis, and their configuration. So what is left of a limit is what any of them
says, but each knows only the counters that it was asked for; and what they count as metrics is added up. One that does
not answer in time, or is just being started again, costs only what it alone knows.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from headgate.ratelimit.metrics import OUTSTANDING
from headgate.ratelimit.summed_metrics import Sums
from headgate.runtime import process_metrics
from headgate.runtime.admin_server import Page, Reply
from headgate.runtime.local_http import Answer, UnansweredError, ask
from headgate.runtime.metrics import CONTENT_TYPE, Description, Kind, Registry
from headgate.runtime.supervisor import Child

ASK_SECONDS: Final = 2.0
"""All are asked at the same time. Longer than a worker waits for its Redis."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, and where it shows its pages."""

    child: Child
    socket: Path


@dataclass(frozen=True, slots=True)
class _Told:
    """What a worker answered, if it did."""

    pid: int
    answer: Answer | None

    @property
    def text(self) -> str | None:
        """Of a page that is as it should be."""
        return None if self.answer is None or self.answer.status != HTTPStatus.OK else self.answer.body.decode()


class WorkerPages:
    """Answers for `workers`, to whom others may be added; `draining` makes it unhealthy."""

    def __init__(self, draining: asyncio.Event, *, read_only: bool = False) -> None:
        """With `read_only` there are only those pages that they too have then."""
        self.workers: list[Worker] = []
        self._draining = draining
        self._read_only = read_only
        self._sums = Sums(shared=(OUTSTANDING,))
        self._answered = 0
        self.registry = Registry()
        """Of this process alone."""
        process_metrics.declare(self.registry)
        for name, kind, help_, read in (
            ("headgate.ratelimit.workers", Kind.GAUGE, "Workers that answer.", lambda: self._answered),
            ("headgate.ratelimit.worker.restarts", Kind.COUNTER, "Workers that were started again.", self._restarts),
        ):
            described = Description(name=name, kind=kind, help=help_)
            self.registry.observed(described, lambda read=read: {(): read()})

    def pages(self) -> Mapping[tuple[str, str], Page]:
        """For an `AdminServer`."""
        pages: dict[tuple[str, str], Page] = {
            ("GET", "/healthcheck"): self._healthcheck,
            ("GET", "/metrics"): self._metrics,
        }
        if self._read_only:
            return pages
        return {
            **pages,
            ("GET", "/limits"): self._limits,
            ("GET", "/rlconfig"): self._rlconfig,
            ("POST", "/json"): self._decide,
        }

    def _restarts(self) -> int:
        return sum(worker.child.restarts for worker in self.workers)

    async def _all(self, path: str) -> Sequence[_Told]:
        return await asyncio.gather(*(_ask(worker, path) for worker in self.workers))

    async def _healthcheck(self, _: bytes) -> Reply:
        """They have one Redis and one configuration: where one is unwell, so is the service. Those that say nothing are
        missed by nobody, as long as others serve."""
        if self._draining.is_set():
            return Reply(503, "draining\n")
        answers = [each.answer for each in await self._all("/healthcheck") if each.answer is not None]
        if not answers:
            return Reply(503, "no worker answers\n")
        worst = max(answers, key=lambda answer: answer.status)
        return Reply(worst.status, worst.body.decode())

    async def _metrics(self, _: bytes) -> Reply:
        told = await self._all("/metrics")
        self._answered = sum(each.text is not None for each in told)
        return Reply(
            200, self._sums.text({each.pid: each.text for each in told} | {0: self.registry.text()}), CONTENT_TYPE
        )

    async def _limits(self, _: bytes) -> Reply:
        pages = [json.loads(each.text) for each in await self._all("/limits") if each.text is not None]
        return Reply(200, json.dumps(merged(pages)), "application/json") if pages else _nobody()

    async def _rlconfig(self, _: bytes) -> Reply:
        texts = [each.text for each in await self._all("/rlconfig") if each.text is not None]
        return Reply(200, texts[0], "application/yaml") if texts else _nobody()

    async def _decide(self, body: bytes) -> Reply:
        """One of them is asked, once: what is not answered may have been counted."""
        running = next((worker for worker in self.workers if worker.child.running), None)
        answer = None if running is None else (await _ask(running, "/json", method="POST", body=body)).answer
        if answer is None:
            return _nobody()
        if answer.status in (HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS):
            return Reply(answer.status, answer.body.decode(), "application/json")
        return Reply(answer.status, answer.body.decode())


def _nobody() -> Reply:
    return Reply(503, "no worker answers\n")


async def _ask(worker: Worker, path: str, *, method: str = "GET", body: bytes = b"") -> _Told:
    pid = worker.child.pid
    try:
        answer = await ask(
            worker.socket, path, seconds=ASK_SECONDS, bytes_max=ANSWER_BYTES_MAX, method=method, body=body
        )
    except UnansweredError:
        answer = None
    # Who answered may be another by now.
    return _Told(pid, answer if worker.child.pid == pid else None)


def merged(pages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One `/limits` of several: every limit once, with the counters that any of them knows."""
    limits: dict[tuple[str, str, str], dict[str, Any]] = {}
    counters: dict[tuple[str, str, str], dict[str, Any]] = {}
    for page in pages:
        for limit in page["limits"]:
            key = limit["asked_as"], limit.get("domain", ""), limit["rule"]
            limits.setdefault(key, limit)
            known = counters.setdefault(key, {})
            for counter in limit["counters"]:
                known.setdefault(json.dumps(counter["descriptor"]), counter)
    return {
        "limits": [{**limit, "counters": list(counters[key].values())} for key, limit in limits.items()],
        "storage_error": next((page["storage_error"] for page in pages if page["storage_error"]), ""),
    }
