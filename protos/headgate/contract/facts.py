"""What the compiler tells an ext_proc stream in its initial metadata, as JSON.

Envoy formats initial metadata values, so the compiler doubles every `%` when it writes one.
"""

from typing import Literal

import msgspec


class HeaderMutation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Request headers to set (lower-case name to value) and to remove."""

    set: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class BodyMutation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Members of a JSON object to set (name to raw JSON value) and to remove, then what changes within members.

    Removal comes first: a name in both is set. A member that is set within one that is absent, or neither an object nor
    a list, makes it an object; a list stays as it is."""

    set: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    within: dict[str, "BodyMutation"] = {}


class ModelRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What models of one name take, where an installation knows better than `headgate.llm.capabilities`. What is not
    said stays as that table has it."""

    match: str
    """Part of a model's name, in lower case; the first row that matches counts."""
    like: str = ""
    """A model of the table whose row is the base; empty: the row that the model's own name finds."""
    max_output_tokens: int | None = None
    max_completion_tokens: bool | None = None
    efforts: tuple[str, ...] | None = None
    thinking: Literal["none", "budget", "adaptive", "both"] | None = None
    thinking_budget: tuple[int, int] | None = None
    """Least and most."""
    structured_output: bool | None = None
    sampling: bool | None = None
    developer_role: bool | None = None
    stop_sequences: int | None = None
    web_search: bool | None = None
    images: bool | None = None


class BackendFacts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One backend of a route rule, as a translating ext_proc stream needs to know it."""

    name: str
    """compat: `<route ns>/<backend>/route/<route>/rule/<i>/ref/<j>`."""
    dialect: str
    """`headgate.llm.names.DialectName`: the wire format the backend speaks."""
    host: str = "direct"
    """`headgate.llm.names.HostName`: where that format is served."""
    vendor: str = ""
    """`headgate.llm.vendors`: whose server it is, where it deviates from the dialect's own; empty is none known."""
    prefix: str = "/v1"
    """Path prefix of the provider's API; starts with `/`, no trailing slash; may be empty."""
    version: str = ""
    """API version where the host wants one (Azure `api-version`, `anthropic_version`)."""
    project: str = ""
    """Google Cloud's project, where the backend's policy names one."""
    region: str = ""
    """The cloud's region, likewise."""
    model: str = ""
    """modelNameOverride; empty keeps the client's model."""
    route: str = ""
    """`<ns>/<name>` of the AIGatewayRoute."""
    announced: bool = False
    """Envoy's routes say who serves, and as which model: that of `model`, else the client's. The stream need not; but
    it tells the client's path (`metadata.INTERNAL_PATH`), since there may be no script that does."""
    as_text: bool = False
    """What is published of an answer that is no stream is also said as one text (`metadata.INTERNAL_FACTS`)."""
    headers: HeaderMutation = HeaderMutation()
    body: BodyMutation = BodyMutation()
    include_usage: bool = False
    """A chat stream ends with its usage whether the client asked or not: Envoy prices it, and takes it out again."""
    losses: Literal["report", "reject", "emulate"] = "report"
    models: tuple[ModelRow, ...] = ()
    """What its models take, where the policy says so."""
    response_model: Literal["provider", "requested"] = "provider"
    """Which model a chat's answer names to its client: as the provider calls it, or as the client asked for it."""
    body_bytes_max: int = 52_428_800
    """Largest request or non-streamed response body in bytes; above it 413 or 502."""


class RouterFacts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a router-level ext_proc stream is asked to do."""

    root: str = ""
    """What stands before the paths of endpoints, without `/` at its end."""
    count_prompt: bool = False
    """Count the prompt's tokens exactly and publish them as `prompt_tokens`."""
    body_bytes_max: int = 52_428_800
