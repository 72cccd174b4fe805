"""Counts prompts for router streams: small ones at once, large ones on a thread, none before the first is asked for."""

import asyncio
from typing import Final

from headgate.extproc.events import CountPrompt
from headgate.llm.usage import TokenCount
from headgate.runtime.logging import event_log

log: Final = event_log("extproc")

INLINE_BYTES_MAX: Final = 8 * 1024
"""About half a millisecond of counting: no stall for other streams, and no more than a thread would delay it by."""

MODELS_MAX: Final = 1024
"""Clients choose model names; those beyond are counted on a thread."""


class PromptCounter:
    """Counts with the vocabularies of `headgate.llm.tokenizers`, which are read when the first prompt comes."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        """Counted before, so what they need has been read."""

    def count_at_once(self, work: CountPrompt) -> bool:
        """Whether counting is short enough for the event loop; never while a vocabulary may have to be read."""
        return work.model in self._models and len(work.body) <= INLINE_BYTES_MAX

    def count(self, work: CountPrompt) -> TokenCount | None:
        """Tokens of the prompt; None, with a log line, if it could not be counted: the request goes on without."""
        # Half a second and tens of MB: only in processes that are asked to count.
        from headgate.llm.tokenizers import count_chat, count_request

        try:
            if work.chat is not None:
                return count_chat(work.chat, work.model)
            return count_request(work.endpoint, work.model, work.body)
        except Exception:  # a counter must never cost a request
            log.exception("prompt_count_failed", endpoint=work.endpoint, body_bytes=len(work.body))
            return None

    async def count_off_loop(self, work: CountPrompt) -> TokenCount | None:
        """The same on a thread."""
        count = await asyncio.get_running_loop().run_in_executor(None, self.count, work)
        if len(self._models) < MODELS_MAX:
            self._models.add(work.model)
        return count
