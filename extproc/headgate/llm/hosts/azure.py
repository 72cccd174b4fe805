"""Azure OpenAI: deployments with an `api-version`, or the v1 surface without one.

<https://learn.microsoft.com/azure/ai-services/openai/reference> and `.../api-version-lifecycle` (v1).
"""

from typing import Final
from urllib.parse import quote

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint
from headgate.llm.errors import RequestError
from headgate.llm.hosts.host import Asked
from headgate.llm.names import Operation

VERSIONLESS: Final = frozenset(("", "v1"))
"""`version` values that mean the v1 surface."""

_WITHOUT_DEPLOYMENT: Final = frozenset((Operation.RESPONSES, Operation.RESPONSES_INPUT_TOKENS))
"""Operations whose path does not name the deployment: the body's `model` does."""

_DOT_SEGMENTS: Final = frozenset((".", ".."))
"""As a deployment they would name another path."""


def place(endpoint: Endpoint, facts: BackendFacts, asked: Asked) -> str:
    """`/openai/v1/…`, or `/openai/deployments/{model}/…?api-version=…`. RequestError where that is another path."""
    if facts.version in VERSIONLESS:
        return f"/openai/v1{endpoint.suffix}"
    query = f"?api-version={quote(facts.version, safe='')}"
    if asked.model in _DOT_SEGMENTS:
        raise RequestError(f"there is no deployment {asked.model!r}", path="model")
    if endpoint.operation in _WITHOUT_DEPLOYMENT:
        return f"/openai{endpoint.suffix}{query}"
    return f"/openai/deployments/{asked.segment}{endpoint.suffix}{query}"
