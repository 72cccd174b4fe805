"""What all statuses are made of: conditions, and the words in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from headgate.compiler.conditions import Diagnostic
from headgate.compiler.resolve.report import Found

Json = Mapping[str, object]

FINDINGS_MAX: Final = 8
"""Of one condition: its reader mends the first ones first."""
MESSAGE_CHARS_MAX: Final = 4096
"""A quarter of what the API allows: every condition of the largest route fits into an object."""


def condition(type_: str, reason: str, *, status: bool, message: str = "", generation: int = 0) -> Json:
    """One condition without its transition time."""
    found: dict[str, object] = {"type": type_, "status": str(status), "reason": reason, "message": message}
    return {**found, "observedGeneration": generation} if generation else found


def text(found: Iterable[Found]) -> str:
    """`field: what is wrong; try: what would be right`, each once, for people who see nothing but this."""
    return joined(dict.fromkeys(_said(diagnostic) for diagnostic, _ in found))


def _said(diagnostic: Diagnostic) -> str:
    field = f"{diagnostic.field}: " if diagnostic.field else ""
    return f"{field}{diagnostic.message}" + (f"; try: {diagnostic.remedy}" if diagnostic.remedy else "")


def joined(parts: Iterable[str]) -> str:
    """Several findings as one message, a line each, not longer than a condition should be."""
    listed: Sequence[str] = list(parts)
    shown = "\n".join(listed[:FINDINGS_MAX])
    if len(listed) > FINDINGS_MAX:
        shown = f"{shown}\nand {len(listed) - FINDINGS_MAX} more"
    return shown if len(shown) <= MESSAGE_CHARS_MAX else f"{shown[: MESSAGE_CHARS_MAX - 1]}…"


def with_warnings(message: str, warnings: Iterable[Found]) -> str:
    """A message, and what else the object's author should know."""
    return "\n".join(part for part in (message, text(warnings)) if part)
