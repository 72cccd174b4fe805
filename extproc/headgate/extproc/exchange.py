"""One ext_proc stream over any transport: message bytes in, message bytes out.

The second and last place that catches: what a session raises is a bug of ours, logged with its trace and answered as a
plain 500 (the first place is the sessions, which turn clients' and providers' errors into answers).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.extproc.events import CountPrompt, Event, PromptCounted
from headgate.extproc.published import Clock
from headgate.extproc.replies import encode
from headgate.extproc.report import Report
from headgate.extproc.session import Session, open_session
from headgate.extproc.tap import Tap
from headgate.extproc.upstream import UpstreamSession
from headgate.extproc.wire import decode
from headgate.llm.usage import TokenCount
from headgate.runtime.logging import event_log

log: Final = event_log("extproc")


class Exchange:
    """Feeds a session. The constructor raises `SessionError`, `receive` raises `WireError`: they end the stream with a
    gRPC error."""

    __slots__ = ("_session", "crashes", "pending_count")

    def __init__(
        self,
        invocation_metadata: Mapping[str, str],
        created: int,
        tap: Tap | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._session: Session = open_session(invocation_metadata, created, tap, clock=clock)
        self.crashes = 0
        """Messages that met a bug of ours."""
        self.pending_count: CountPrompt | None = None
        """Set after `receive` when the shell must count a prompt and call `counted` before anything else."""

    def receive(self, data: bytes) -> Sequence[bytes]:
        """The replies to one message, in order."""
        return self._run(decode(data))

    def counted(self, count: TokenCount | None) -> Sequence[bytes]:
        """The replies once the prompt is counted; None if it could not be."""
        self.pending_count = None
        return self._run(PromptCounted(None) if count is None else PromptCounted(count.tokens, count.exact))

    @property
    def is_attempt(self) -> bool:
        """Whether the stream is in the upstream position."""
        return isinstance(self._session, UpstreamSession)

    def report(self) -> Report | None:
        """What an upstream attempt came to; None for a router stream."""
        session = self._session
        return session.report() if isinstance(session, UpstreamSession) else None

    def _run(self, event: Event) -> Sequence[bytes]:
        session = self._session
        try:
            actions = session.receive(event)
        except Exception:  # the shell's boundary: a bug must cost one request only
            self.crashes += 1
            log.exception("session_crashed", session=type(session).__name__, at=type(event).__name__)
            actions = session.crash(event)
        if not actions:
            return ()
        if type(actions[-1]) is CountPrompt:
            self.pending_count = actions[-1]
            actions = actions[:-1]
        return tuple(map(encode, actions))
