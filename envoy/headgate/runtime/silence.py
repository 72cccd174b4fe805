"""Whether a process that says nothing is hung: told by questions to it, and by whether it computes.

One that is stopped, or waits for what never comes, computes nothing; one that has much to do, or shares a busy machine,
does. Questions are counted, not time: what we slept through ourselves (a laptop that was closed) is no silence of
theirs.
"""

from typing import Final

ASK_SECONDS: Final = 1.0
"""How long after an answer the next question comes, and how long a question may take."""
IDLE_QUESTIONS_MAX: Final = 9
"""So many in a row without an answer and without any CPU time: it is hung."""
QUESTIONS_MAX: Final = 30
"""So many in a row without an answer: it is hung, whatever it computes."""


class Silence:
    """The questions since the last answer. Make a new one when an answer comes."""

    def __init__(self) -> None:
        self._questions = self._idle = 0
        self._cpu_seconds: float | None = None

    def unanswered(self, cpu_seconds: float | None) -> bool:
        """One more; `cpu_seconds` is what the process has used in its life, None where nobody knows. Is it hung?"""
        idle = cpu_seconds is not None and cpu_seconds == self._cpu_seconds
        self._cpu_seconds = cpu_seconds
        self._questions += 1
        self._idle = self._idle + 1 if idle else 0
        return self._idle >= IDLE_QUESTIONS_MAX or self._questions >= QUESTIONS_MAX
