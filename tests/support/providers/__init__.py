"""Fake LLM providers that behave like the real ones, check what they are sent, and remember it.

>>> with Provider(OPENAI, key="sk-test") as provider:
...     provider.answer(Answer(text="Hello!"), Failure(429, retry_after_seconds=7))
...     ...                        # first call answered, second and all later ones refused
...     assert provider.last.json["model"] == "gpt-x"

A request that the provider's own SDK could not have sent, that carries another credential or one of the gateway's
internal headers, is answered with 400 and listed in `provider.problems`; the `provider` fixture fails the test for it.
"""

from support.providers.answers import Answer, Delivery, Failure, Raw, Reply, ToolUse, Usage
from support.providers.anthropic_api import ANTHROPIC, ANTHROPIC_BEARER
from support.providers.bedrock_api import BEDROCK
from support.providers.openai_api import AZURE_OPENAI, OPENAI
from support.providers.received import Received
from support.providers.server import Api, Provider

__all__ = [
    "ANTHROPIC",
    "ANTHROPIC_BEARER",
    "AZURE_OPENAI",
    "BEDROCK",
    "OPENAI",
    "Answer",
    "Api",
    "Delivery",
    "Failure",
    "Provider",
    "Raw",
    "Received",
    "Reply",
    "ToolUse",
    "Usage",
]
