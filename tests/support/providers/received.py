"""A request as a fake provider got it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from functools import cached_property
from typing import Any

from support.json_values import is_object


@dataclass(frozen=True, kw_only=True)
class Received:
    """`headers` in wire order with lower-case names; `problems` is empty for a request the provider accepts."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    problems: list[str] = field(default_factory=list[str])

    def header(self, name: str) -> str | None:
        """The only value of a header; None where it is absent; raises ValueError where there are several."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise ValueError(f"{name} came {len(values)} times")
        return values[0] if values else None

    @cached_property
    def json(self) -> Any:
        """The body's JSON; raises ValueError."""
        return json.loads(self.body)

    @cached_property
    def form(self) -> Mapping[str, tuple[bytes, ...]]:
        """The values of a form's fields by name, as the standard library reads them; raises ValueError."""
        head = f"content-type: {self.header('content-type')}\r\n\r\n".encode()
        message = BytesParser(policy=policy.HTTP).parsebytes(head + self.body)
        if message.get_content_type() != "multipart/form-data" or message.defects:
            raise ValueError(f"not a form: {message.get_content_type()} {message.defects}")
        found: dict[str, tuple[bytes, ...]] = {}
        for part in message.iter_parts():
            name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
            assert isinstance(value, bytes)
            found[str(name)] = (*found.get(str(name), ()), value)
        return found

    @property
    def streamed(self) -> bool:
        """Whether the client asked for a stream."""
        try:
            return is_object(self.json) and bool(self.json.get("stream"))
        except ValueError:
            return False

    @property
    def model(self) -> str:
        try:
            return str(self.json.get("model", "")) if is_object(self.json) else ""
        except ValueError:
            return ""
