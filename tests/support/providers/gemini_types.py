"""What generateContent takes and answers, made of the types of Google's own SDK."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class GenerationConfig(types.GenerationConfig):
    """With what the SDK writes there beyond its own type."""

    image_config: types.ImageConfig | None = None
    model_selection_config: types.ModelSelectionConfig | None = Field(default=None, alias="modelConfig")


class GenerateContentRequest(BaseModel):
    """The body: the SDK has a type for each member, and none for all of them."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    contents: list[types.Content]
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: types.ServiceTier | None = None
    continuation_token: str | None = None
    output_config: types.GenerationOutputConfig | None = None
    model_armor_config: types.ModelArmorConfig | None = None
    store: bool | None = None


DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)


def gemini_rules(body: dict[str, Any]) -> Iterator[str]:
    """One kind of data in a part; roles in turns; every call answered by the next turn, in number and name."""
    if not body["contents"]:
        yield "contents: must not be empty"
    open_calls: list[str] = []
    last = ""
    for index, content in enumerate(body["contents"]):
        if content["role"] == last:
            yield f"contents[{index}]: another {last} turn"
        last = content["role"]
        if not content["parts"]:
            yield f"contents[{index}].parts: must not be empty"
        yield from _part_rules(content["parts"], f"contents[{index}]")
        responses = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if sorted(responses) != sorted(open_calls) and (responses or open_calls):
            yield f"contents[{index}]: responses {responses} to the calls {open_calls}"
        open_calls = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
    config: dict[str, Any] = body.get("generationConfig", {})
    if "thinkingBudget" in config.get("thinkingConfig", {}) and "thinkingLevel" in config["thinkingConfig"]:
        yield "thinkingConfig: a budget or a level"
    if "responseSchema" in config and "responseJsonSchema" in config:
        yield "generationConfig: one schema"
    if len(config.get("stopSequences", ())) > 5:
        yield "stopSequences: at most 5"
    declared = [f["name"] for tool in body.get("tools", ()) for f in tool.get("functionDeclarations", ())]
    for name in body.get("toolConfig", {}).get("functionCallingConfig", {}).get("allowedFunctionNames", ()):
        if name not in declared:
            yield f"allowedFunctionNames: {name} is not declared"


def _part_rules(parts: list[dict[str, Any]], where: str) -> Iterator[str]:
    for index, part in enumerate(parts):
        found = [name for name in DATA if name in part]
        if len(found) != 1:
            yield f"{where}.parts[{index}]: one of {DATA}, not {found}"
        if "thoughtSignature" in part:
            try:
                base64.b64decode(part["thoughtSignature"], validate=True)
            except binascii.Error:
                yield f"{where}.parts[{index}].thoughtSignature: Base64 decoding failed"
