"""Counts prompts for router streams: small ones at once, large ones on a thread, none before the first is asked for."""

import asyncio
from typing import Final

from headgate.extproc.events import CountPrompt
from headgate.runtime.logging import event_log

log: Final = event_log("extproc")

INLINE_BYTES_MAX: Final = 8 * 1024
"""About 0.8 ms of counting: no stall for other streams, and no more than a thread would delay it by."""


def count_inline(work: CountPrompt) -> bool:
    """Whether counting is short enough to be done on the event loop."""
    return len(work.body) <= INLINE_BYTES_MAX


def count_prompt(work: CountPrompt) -> int | None:
    """Tokens of the prompt; None, with a log line, if it could not be counted: the request goes on without a count."""
    # Loading a vocabulary costs half a second and tens of MB: only in processes that are asked to count.
    from headgate.llm.tokenizers import count_request_tokens

    try:
        return count_request_tokens(work.endpoint, work.model, work.body)
    except Exception:  # a counter must never cost a request
        log.exception("prompt_count_failed", endpoint=work.endpoint, body_bytes=len(work.body))
        return None


async def count_off_loop(work: CountPrompt) -> int | None:
    """The same on a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, count_prompt, work)
