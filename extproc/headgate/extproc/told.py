"""What is told of an attempt whose content is captured, as attributes in either convention. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from headgate.extproc.report import Report
from headgate.llm import openinference
from headgate.llm.content import Answered, Asked, Json
from headgate.runtime.otlp.values import Value
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv.attributes import error_attributes, exception_attributes

Attributes = Iterator[tuple[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An attempt, with what may be told of its content."""

    report: Report
    asked: Asked
    answered: Answered
    content: Mapping[str, Json]
    """`system`, `input`, `output`, `tools` and `stop`; a text is what stands for a list that was taken out whole."""
    failure: str = ""
    """What the client was told of an error, as far as that may be told."""

    @property
    def error(self) -> str:
        """What went wrong; empty where nothing did."""
        return self.report.error or (str(self.report.status) if self.report.status >= 400 else "")

    def listed(self, name: str) -> Sequence[Json]:
        found = self.content[name]
        return () if isinstance(found, str) or not isinstance(found, Sequence) else found

    def json(self, name: str) -> str:
        """Empty where there is nothing."""
        found = self.content[name]
        return msgspec.json.encode(found).decode() if found else ""

    @property
    def stop(self) -> tuple[str, ...]:
        return tuple(each for each in self.listed("stop") if isinstance(each, str))


def gen_ai_attributes(told: Told) -> Attributes:
    """In OpenTelemetry's names; what is not known is left out."""
    report, usage, sampling = told.report, told.report.usage, told.asked.sampling
    known: tuple[tuple[str, Value | None], ...] = (
        (gen_ai.GEN_AI_OPERATION_NAME, "chat"),
        (gen_ai.GEN_AI_REQUEST_MODEL, report.request_model),
        (gen_ai.GEN_AI_RESPONSE_MODEL, report.response_model),
        (gen_ai.GEN_AI_RESPONSE_ID, told.answered.id),
        (gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, tuple(told.answered.finish_reasons)),
        (gen_ai.GEN_AI_REQUEST_MAX_TOKENS, told.asked.max_tokens),
        (gen_ai.GEN_AI_REQUEST_TEMPERATURE, sampling.temperature),
        (gen_ai.GEN_AI_REQUEST_TOP_P, sampling.top_p),
        (gen_ai.GEN_AI_REQUEST_TOP_K, sampling.top_k),
        (gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY, sampling.frequency_penalty),
        (gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY, sampling.presence_penalty),
        (gen_ai.GEN_AI_REQUEST_SEED, sampling.seed),
        (gen_ai.GEN_AI_REQUEST_CHOICE_COUNT, sampling.candidates),
        (gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES, told.stop),
        (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, usage.input),
        (gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, usage.output),
        (gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input),
        (gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS, usage.cache_creation_input),
        (gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning),
        (error_attributes.ERROR_TYPE, told.error),
        ("headgate.backend", report.facts.name),
        (gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS, told.json("system")),
        (gen_ai.GEN_AI_INPUT_MESSAGES, told.json("input")),
        (gen_ai.GEN_AI_OUTPUT_MESSAGES, told.json("output")),
        (gen_ai.GEN_AI_TOOL_DEFINITIONS, told.json("tools")),
    )
    return _there(known)


def openinference_attributes(told: Told, *, parameters: bool) -> Attributes:
    """In OpenInference's names; `parameters`: with those of the request."""
    report, usage = told.report, told.report.usage
    assert report.endpoint is not None, "only chats are captured"
    known: tuple[tuple[str, Value | None], ...] = (
        ("openinference.span.kind", openinference.span_kind(report.endpoint)),
        ("llm.system", openinference.system(report.endpoint)),
        ("llm.model_name", report.request_model),
        ("llm.invocation_parameters", _parameters(told) if parameters else None),
        *_value("input", told),
        *_value("output", told),
        ("llm.token_count.prompt", usage.input),
        ("llm.token_count.completion", usage.output),
        ("llm.token_count.total", usage.total),
        ("llm.token_count.prompt_details.cache_read", usage.cached_input),
        ("llm.token_count.prompt_details.cache_write", usage.cache_creation_input),
        ("llm.token_count.completion_details.reasoning", usage.reasoning),
        (error_attributes.ERROR_TYPE, told.error),
        ("headgate.backend", report.facts.name),
    )
    yield from _there(known)
    said = (*openinference.instructions(told.listed("system")), *told.listed("input"))
    yield from openinference.messages("llm.input_messages", said)
    yield from openinference.messages("llm.output_messages", told.listed("output"))
    yield from openinference.tools(told.listed("tools"))


def exception_attributes_of(told: Told) -> Mapping[str, Value]:
    """compat: of the event that tells of an error."""
    status = told.report.status
    return {
        exception_attributes.EXCEPTION_TYPE: openinference.exception_type(status),
        exception_attributes.EXCEPTION_MESSAGE: openinference.exception_message(status, told.failure),
    }


def _there(known: Sequence[tuple[str, Value | None]]) -> Attributes:
    return ((name, value) for name, value in known if value is not None and value not in ("", ()))


def _value(name: str, told: Told) -> Iterator[tuple[str, Value]]:
    """`input.value` or `output.value`; of what was taken out whole, what stands for it, which is no JSON."""
    found = told.content[name]
    if isinstance(found, str):
        yield f"{name}.value", found
    elif found:
        yield f"{name}.value", told.json(name)
        yield f"{name}.mime_type", "application/json"


def _parameters(told: Told) -> str:
    said: dict[str, Json] = {"model": told.report.request_model}
    said |= openinference.parameters(told.asked.max_tokens, told.asked.sampling)
    if told.stop:
        said["stop"] = told.stop
    return msgspec.json.encode(said).decode()
