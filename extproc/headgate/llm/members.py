"""A JSON object opened one level deep: the names and the raw bytes of what they hold.

The only place where a client's body is checked for being an object, in UTF-8, with no name twice.
"""

import msgspec
from headgate.llm.errors import RequestError
from headgate.llm.framing.surrogates import first_half


class _Name:
    """A member name that equals only itself, so that a name sent twice makes two entries and can be refused.

    Made by msgspec as a `dec_hook`, which is why it is told its type.
    """

    __slots__ = ("text",)

    def __init__(self, _type: type, text: str) -> None:
        self.text = text


_DECODER = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_Name)


def decode_members(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a client's JSON object, in order, values raw (whitespace around them trimmed).

    RequestError 400: not JSON, not UTF-8, not an object, or a name twice (`path` names it).
    """
    check_utf8(body)
    return split_members(body)


def check_utf8(body: bytes) -> None:
    """RequestError 400 where the body is not UTF-8."""
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"the body is not valid UTF-8: {error.reason} at byte {error.start}", code="invalid_utf8"
        ) from None


def invalid_json(body: bytes, error: Exception) -> RequestError:
    """The refusal of a body that msgspec cannot read. It says of half a character (`"\\ud83d"`, which programs write
    that cut their texts by UTF-16) that the body was truncated, or a hex escape."""
    check_utf8(body)
    half = first_half(body)
    if half is None:
        return RequestError(f"the body is not valid JSON: {error}", code="invalid_json")
    reason = (
        f"the escape {half[0].decode()} at byte {half.start()} is half a character: its other half must be beside it"
    )
    return RequestError(f"the body is not valid Unicode: {reason}", code="invalid_unicode")


def split_members(body: bytes) -> dict[str, msgspec.Raw]:
    """As `decode_members`, for those who read the values: these are skipped here, and may be no UTF-8."""
    try:
        named = _DECODER.decode(body)
        members = {name.text: raw for name, raw in named.items()}
    except msgspec.ValidationError:
        raise RequestError("the body must be a JSON object", code="invalid_json") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_json(body, error) from None
    if len(members) != len(named):
        names = [name.text for name in named]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError("this member is given twice", path=twice, code="duplicate_member")
    return members


def encode_members(members: dict[str, msgspec.Raw]) -> bytes:
    """The object again, compact between members, values byte for byte."""
    return msgspec.json.encode(members)
