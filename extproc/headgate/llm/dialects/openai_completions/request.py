"""A completion request: its prompt is what the user says. Only read: backends of other dialects answer it.

What would need another answer than a chat can give is refused by name: several prompts or answers, tokens, a suffix.
"""

from typing import Final

from headgate.llm.canonical import ChatRequest, Message, Sampling, TextPart
from headgate.llm.dialects.dialect import EncodedRequest, Target
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.openai_completions import wire
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError, UnsupportedTranslation
from headgate.llm.names import DialectName
from headgate.llm.strict import decode_strict

MAX_TOKENS_DEFAULT: Final = 16
"""What this API means by no limit."""

_DEFAULT_EXTRAS: Final = {"best_of": b"1"}


def decode_request(body: bytes, _path: PathFacts = NO_PATH) -> ChatRequest:
    """The client's body. RequestError with the JSON path of the first thing wrong."""
    request, members = decode_strict(wire.REQUEST_DECODER, body)
    if not request.model:
        raise RequestError("must be given and not be empty", path="model", code="invalid_value")
    if request.suffix:
        reason = "this backend writes on, it does not fill in: leave it out"
        raise RequestError(reason, path="suffix", code="unsupported_parameter")
    if request.n is not None and request.n != 1:
        reason = "this backend writes one answer a request: send a request for each"
        raise RequestError(reason, path="n", code="unsupported_parameter")
    prompt = _prompt(request.prompt)
    extras = {name: raw for name, raw in members.items() if _is_extra(name, present(raw))}
    bias = present(request.logit_bias)
    stop = request.stop
    return ChatRequest(
        model=request.model,
        messages=(Message("user", (TextPart(prompt),), path="prompt"),),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            frequency_penalty=request.frequency_penalty or None,
            presence_penalty=request.presence_penalty or None,
            seed=request.seed,
            logit_bias=request.logit_bias if bias and bias != b"{}" else None,
            logprobs=None if request.logprobs is None else True,
            top_logprobs=request.logprobs or None,
        ),
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        max_tokens=_max_tokens(request.max_tokens),
        user=request.user or "",
        stream=bool(request.stream),
        include_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
        extras={DialectName.OPENAI_COMPLETIONS: extras} if extras else {},
        echo=prompt.encode() if request.echo else b"",
    )


def encode_request(_request: ChatRequest, target: Target) -> EncodedRequest:
    """Never asked for: no backend is planned with this dialect."""
    raise UnsupportedTranslation(f"nothing is translated to completions, as {target.model} was to be asked")


def _is_extra(name: str, value: bytes) -> bool:
    return name not in wire.REQUEST_MEMBERS and bool(value) and _DEFAULT_EXTRAS.get(name) != value


def _prompt(prompt: str | list[str | int | list[int]] | None) -> str:
    given = prompt
    if isinstance(given, list):
        if len(given) > 1 and isinstance(given[0], str):
            reason = "this backend takes one prompt a request: send a request for each"
            raise RequestError(reason, path="prompt", code="unsupported_parameter")
        given = given[0] if given and isinstance(given[0], str) else None
        if given is None:
            reason = "must be a text: this backend takes no tokens"
            raise RequestError(reason, path="prompt", code="unsupported_parameter")
    if not given:
        raise RequestError("must be given and not be empty", path="prompt", code="invalid_value")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise RequestError("is not valid Unicode", path="prompt", code="invalid_value") from None
    return given


def _max_tokens(given: int | None) -> int:
    if given is None:
        return MAX_TOKENS_DEFAULT
    if given < 1:
        raise RequestError("must be at least 1", path="max_tokens", code="invalid_value")
    return given
