"""A provider of operations beyond chat: checks credential, path and body, and answers what a test scripts (`Raw`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from support.providers import checking
from support.providers.answers import Answer, Failure
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import JSON, compact


@dataclass(frozen=True, slots=True)
class OperationsApi:
    """`types`: a pattern of the path to the type that a JSON body must have; empty for one that is not looked into, or
    that there is none. `forms`: likewise, the fields that a form must have; a path of both takes either."""

    types: Mapping[str, str]
    credential_header: str = "authorization"
    credential_format: str = "Bearer {}"
    answer_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    forms: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    query: str = ".*"
    """A pattern that the query must match."""

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        del allow_unknown
        fields = next((fields for path, fields in self.forms.items() if re.fullmatch(path, received.path)), None)
        form = fields is not None and (received.header("content-type") or "").startswith("multipart/")
        credential = (self.credential_header, self.credential_format.format(key))
        found = checking.header_problems(received, *credential, form=form)
        if not re.fullmatch(self.query, received.query):
            found.append(f"the query is {received.query}")
        if fields is not None and form:
            return found + [f"no field {name}" for name in sorted(fields - received.form.keys())]
        known = next((kind for path, kind in self.types.items() if re.fullmatch(path, received.path)), None)
        if known is None:
            return [*found, f"no such path: {received.method} {received.path}"]
        return found + (checking.sdk_problems(known, received.body) if known else [])

    def render(self, answer: Answer, received: Received) -> Rendered:
        raise AssertionError(f"a test must script what {received.path} answers, not {answer}")

    def render_failure(self, failure: Failure) -> Rendered:
        return Rendered(JSON, (compact({"message": failure.message, "error": {"message": failure.message}}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        del number
        return self.answer_headers
