"""The demo provider's HTTP server."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from headgate.cli.demo import anthropic_wire, openai_wire
from headgate.cli.demo.conversation import DemoReply, DemoRequest, count_prompt, reply_to
from headgate.cli.demo.tokens import TokenCounter
from headgate.cli.demo.wire import BadRequestError, compact, decode_object

BODY_BYTES_MAX: Final = 64 << 20
MODELS: Final = ("demo", "demo-mini")
PAUSE_SECONDS: Final = 0.015
"""Between two words of a stream, so that it can be seen to stream."""

ErrorBody = Callable[[int, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of `CONVERSATIONS`: a path that takes a prompt and answers whole or streamed."""

    decode: Callable[[Mapping[str, Any]], DemoRequest]
    whole: Callable[[DemoReply, DemoRequest, int], dict[str, Any]]
    events: Callable[[DemoReply, DemoRequest, int], Iterator[bytes]]
    error: ErrorBody


CONVERSATIONS: Final = {
    "/v1/chat/completions": Conversation(
        openai_wire.decode_chat, openai_wire.chat, openai_wire.chat_events, openai_wire.error
    ),
    "/v1/completions": Conversation(
        openai_wire.decode_completion, openai_wire.completion, openai_wire.completion_events, openai_wire.error
    ),
    "/v1/responses": Conversation(
        openai_wire.decode_response, openai_wire.response, openai_wire.response_events, openai_wire.error
    ),
    "/v1/messages": Conversation(
        anthropic_wire.decode_messages, anthropic_wire.message, anthropic_wire.message_events, anthropic_wire.error
    ),
}


class DemoServer:
    """Handlers of the demo provider; `application()` makes a server of them."""

    def __init__(self, *, pause_seconds: float = PAUSE_SECONDS, count_tokens: TokenCounter | None = None) -> None:
        self._pause_seconds = pause_seconds
        self._count_tokens = count_tokens or TokenCounter()
        self._numbers = itertools.count(1)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        for path, row in CONVERSATIONS.items():
            app.router.add_post(path, self._conversation(row))
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/healthz", self._healthy)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    def _conversation(self, row: Conversation) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                demo_request = row.decode(decode_object(await request.read()))
            except BadRequestError as error:
                return _json(row.error(400, str(error)), 400)
            reply = reply_to(demo_request, self._count_tokens)
            number = next(self._numbers)
            if demo_request.streamed:
                return await self._stream(request, row.events(reply, demo_request, number))
            return _json(row.whole(reply, demo_request, number))

        return handle

    async def _stream(self, request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in events:
            await response.write(event)
            if self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)
        await response.write_eof()
        return response

    async def _embeddings(self, request: web.Request) -> web.Response:
        try:
            return _json(openai_wire.embeddings(decode_object(await request.read()), self._count_tokens))
        except BadRequestError as error:
            return _json(openai_wire.error(400, str(error)), 400)

    async def _count(self, request: web.Request) -> web.Response:
        try:
            decoded = anthropic_wire.decode_messages(decode_object(await request.read()), counting=True)
        except BadRequestError as error:
            return _json(anthropic_wire.error(400, str(error)), 400)
        return _json({"input_tokens": count_prompt(decoded, self._count_tokens)})

    async def _models(self, request: web.Request) -> web.Response:
        wire = anthropic_wire if "anthropic-version" in request.headers else openai_wire
        return _json(wire.models(MODELS))

    async def _healthy(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _unknown(self, request: web.Request) -> web.Response:
        wire = anthropic_wire if "anthropic-version" in request.headers else openai_wire
        return _json(wire.error(404, f"the demo provider does not serve {request.method} {request.path}"), 404)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=compact(value), status=status, content_type="application/json")
