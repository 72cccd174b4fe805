"""A value that must not be printed.

Rule: only the stage that hands a secret to its user (an SDS resource, a file read by Envoy, an outgoing request) calls
`reveal`; everything else passes the `Secret` on. It is neither a `str` nor a dataclass, so no formatting, joining,
JSON encoder or `asdict` can leak it.
"""

from typing import Final, NoReturn, final

REDACTED: Final = "[redacted]"


@final
class Secret:
    """A credential, key or certificate as text. Immutable; compares and hashes by value; prints as `[redacted]`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. The caller must not log it."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    def __format__(self, format_spec: str) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        """False for the empty secret."""
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; reveal it where it is used")

    def __deepcopy__(self, memo: object) -> "Secret":
        return self
