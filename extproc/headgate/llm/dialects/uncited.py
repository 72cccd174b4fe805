"""What dialects without citations of documents report of a request that asks for them."""

from collections.abc import Sequence

from headgate.llm.canonical import DocumentPart, Message
from headgate.llm.losses import Loss


def report_uncited(messages: Sequence[Message], losses: list[Loss]) -> None:
    """A loss for the documents that the answer shall cite, if there are any."""
    for message in messages:
        for index, part in enumerate(message.parts):
            if isinstance(part, DocumentPart) and part.cited:
                path = f"{message.path}.content[{index}].citations"
                losses.append(Loss(path, "dropped", "answers of this dialect do not cite documents"))
                return
