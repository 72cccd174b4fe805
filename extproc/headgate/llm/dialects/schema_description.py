"""What an answer's JSON is for (`ResponseFormat.description`), to dialects that have a schema and no word beside it."""

from typing import Final

import msgspec
from headgate.llm.canonical import ResponseFormat
from headgate.llm.losses import Loss

DESCRIPTION: Final = "response_format.json_schema.description"

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def described_schema(wanted: ResponseFormat, losses: list[Loss]) -> msgspec.Raw | None:
    """The schema with the description as its own, first, where models read it; a loss where it has one already, or
    where there is no schema."""
    schema, description = wanted.schema, wanted.description
    if not description:
        return schema
    if schema is None:
        losses.append(Loss(DESCRIPTION, "dropped", "there is no schema to describe"))
        return None
    members = _MEMBERS.decode(schema)
    if "description" in members:
        if members["description"] != msgspec.Raw(msgspec.json.encode(description)):
            losses.append(Loss(DESCRIPTION, "dropped", "the schema describes itself, and has the only place for it"))
        return schema
    return msgspec.Raw(msgspec.json.encode({"description": description, **members}))
