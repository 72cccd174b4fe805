"""A thousand requests of every kind, and an account of what fake providers served of them.

Every client dialect, in the lane that relays and in the one that translates, whole and streamed; failures, failovers,
clients that hang up, providers that break off, limits, and what the gateway refuses by itself.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import unquote

from support import manifests
from support.manifests import AI, Document, api_keys, backend, document, ref, route, rule, secret, target
from support.ports import free_port
from support.providers import ANTHROPIC, BEDROCK, OPENAI, Answer, Delivery, Failure, Provider, Raw, Usage
from support.providers.cohere_api import CohereApi
from support.providers.gemini_api import GeminiApi
from support.providers.operations_api import OperationsApi
from support.providers.received import Received
from support.stage import Stage

CLIENTS = {"alice": "key-a", "bob": "key-b"}
LIMIT = 5
"""Requests of each kind with a limit that are let in."""
BUDGETED = Usage(input=60, output=40)
"""What an answer uses of a budget of tokens or money. Its request says that it may use as much (a prompt is taken for
a quarter of its bytes, and one more): however many come at once, the same number fits."""
COSTS = {
    "requests": 1,
    "tokens": BUDGETED.input + BUDGETED.output,
    "usd": BUDGETED.input * 5 // 2 + BUDGETED.output * 10,
}
"""Of a request, by what its limit counts: there is room for `LIMIT` of them and for half of one more."""
CUT_STREAM = -1
"""What a client sees whose stream ends amid its body, where others see a status."""
HUNG_UP = 0
SECRETS = ("sk-o", "sk-2", "sk-a", "sk-g", "sk-c", "sk-i", "AKID")


def providers() -> dict[str, Provider]:
    """By the name of their backend."""
    images = OperationsApi({"/v1/images/generations": "openai.types.image_generate_params.ImageGenerateParams"})
    return {
        "openai": Provider(OPENAI, key="sk-o"),
        "second": Provider(OPENAI, key="sk-2"),
        "anthropic": Provider(ANTHROPIC, key="sk-a"),
        "gemini": Provider(GeminiApi(), key="sk-g"),
        "cohere": Provider(CohereApi(), key="sk-c"),
        "bedrock": Provider(BEDROCK, key="AKID:secret-of-aws"),
        "images": Provider(images, key="sk-i"),
    }


@dataclass(frozen=True, kw_only=True)
class Client:
    """How a client asks: the path and the body for a model."""

    path: str
    stream_path: str = ""
    """Where it streams at a path of its own."""
    operation: str = "chat"
    """What spans call it."""
    measured: str = "chat"
    """What metrics call it."""
    body: Callable[[str], Mapping[str, Any]]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


SAID = [{"role": "user", "content": "Hello!"}]
CLIENT_DIALECTS: Mapping[str, Client] = {
    "chat": Client(path="/v1/chat/completions", body=lambda model: {"model": model, "messages": SAID}),
    "messages": Client(
        path="/v1/messages",
        measured="messages",
        body=lambda model: {"model": model, "max_tokens": 64, "messages": SAID},
        headers={"anthropic-version": "2023-06-01"},
    ),
    "responses": Client(
        path="/v1/responses", measured="responses", body=lambda model: {"model": model, "input": "Hello!"}
    ),
    "gemini": Client(
        path="/v1beta/models/{}:generateContent",
        stream_path="/v1beta/models/{}:streamGenerateContent?alt=sse",
        operation="generate_content",
        measured="generate_content",
        body=lambda _: {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]},
    ),
    "converse": Client(
        path="/model/{}/converse",
        stream_path="/model/{}/converse-stream",
        body=lambda _: {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}]},
    ),
    "cohere": Client(path="/v2/chat", body=lambda model: {"model": model, "messages": SAID}),
    "embeddings": Client(
        path="/v1/embeddings",
        operation="embeddings",
        measured="embeddings",
        body=lambda model: {"model": model, "input": "Hello!"},
    ),
    "images": Client(
        path="/v1/images/generations",
        operation="image_generation",
        measured="image_generation",
        body=lambda model: {"model": model, "prompt": "Hello!"},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Requests that are alike. Their model is called as they are."""

    many: int
    client: str = "chat"
    backends: tuple[str, ...] = ("openai",)
    """Of the rule, the first asked first; none where no rule takes it."""
    stream: bool = False
    lane: str = "native"
    reply: Any = None
    """What the first backend answers; None is what the account says."""
    status: int = 200
    error: str = ""
    key: str = ""
    """In place of a client's own."""
    twice: bool = False
    """Whether the body names the model twice."""
    unit: str = ""
    """What its limit counts, which lets in `LIMIT` of them; empty without one."""

    @property
    def budgeted(self) -> bool:
        """Whether a request reserves what it may use."""
        return self.unit in ("tokens", "usd")


def _translated(client: str, many: int, *backends: str, stream: bool = False) -> Kind:
    return Kind(many=many, client=client, backends=backends, lane="extproc", stream=stream)


_HANGING = Answer(delivery=Delivery(hang_after_bytes=300))
_CUT = Answer(delivery=Delivery(abort_after_bytes=300))
KINDS: Mapping[str, Kind] = {
    "native": Kind(many=100),
    "native-stream": Kind(many=60, stream=True),
    "messages": Kind(many=30, client="messages", backends=("anthropic",)),
    "messages-stream": Kind(many=30, client="messages", backends=("anthropic",), stream=True),
    "responses": Kind(many=20, client="responses"),
    "responses-stream": Kind(many=20, client="responses", stream=True),
    "gemini": Kind(many=20, client="gemini", backends=("gemini",)),
    "gemini-stream": Kind(many=20, client="gemini", backends=("gemini",), stream=True),
    "cohere": Kind(many=20, client="cohere", backends=("cohere",)),
    "cohere-stream": Kind(many=20, client="cohere", backends=("cohere",), stream=True),
    "converse": Kind(many=20, client="converse", backends=("bedrock",)),
    "converse-stream": Kind(many=20, client="converse", backends=("bedrock",), stream=True),
    "embeddings": Kind(many=20, client="embeddings"),
    "images": Kind(many=20, client="images", backends=("images",)),
    "translated": _translated("chat", 40, "anthropic"),
    "translated-stream": _translated("chat", 40, "anthropic", stream=True),
    "chat-gemini": _translated("chat", 10, "gemini"),
    "chat-gemini-stream": _translated("chat", 10, "gemini", stream=True),
    "chat-cohere": _translated("chat", 10, "cohere"),
    "chat-cohere-stream": _translated("chat", 10, "cohere", stream=True),
    "chat-bedrock": _translated("chat", 10, "bedrock"),
    "chat-bedrock-stream": _translated("chat", 10, "bedrock", stream=True),
    "messages-openai": _translated("messages", 15, "openai"),
    "messages-openai-stream": _translated("messages", 15, "openai", stream=True),
    "responses-anthropic": _translated("responses", 10, "anthropic"),
    "responses-anthropic-stream": _translated("responses", 10, "anthropic", stream=True),
    "gemini-openai": _translated("gemini", 10, "openai"),
    "gemini-openai-stream": _translated("gemini", 10, "openai", stream=True),
    "cohere-openai": _translated("cohere", 10, "openai"),
    "cohere-anthropic-stream": _translated("cohere", 10, "anthropic", stream=True),
    "converse-openai": _translated("converse", 10, "openai"),
    "converse-anthropic-stream": _translated("converse", 10, "anthropic", stream=True),
    "failover": Kind(many=40, backends=("openai", "second"), reply=Failure(503, "away")),
    "failover-stream": Kind(many=30, backends=("openai", "second"), stream=True, reply=Failure(503, "away")),
    "failover-out": Kind(many=20, backends=("openai", "anthropic"), reply=Failure(503, "away"), lane="extproc"),
    "failover-in": Kind(many=20, backends=("anthropic", "openai"), stream=True, reply=Failure(529, "away")),
    "failing": Kind(many=30, reply=Failure(500, "broken"), status=500, error="upstream_failed"),
    "refusing": Kind(many=20, reply=Failure(400, "no"), status=400, error="upstream_refused"),
    "hang-up": Kind(many=30, stream=True, reply=_HANGING, status=HUNG_UP, error="client_gone"),
    "hang-up-translated": Kind(
        many=10,
        client="messages",
        stream=True,
        lane="extproc",
        reply=Answer(text="word " * 50, pieces=20, delivery=Delivery(hang_after_bytes=2_000)),
        status=HUNG_UP,
        error="client_gone",
    ),
    "cut": Kind(many=10, stream=True, reply=_CUT, status=CUT_STREAM, error="upstream_reset"),
    "limited": Kind(many=30, status=429, error="limited", unit="requests"),
    "tokens": Kind(many=20, status=429, error="limited", unit="tokens", stream=True),
    "money": Kind(many=20, status=402, error="limited", unit="usd", backends=("anthropic",), lane="extproc"),
    "gone": Kind(many=10, backends=("gone",), status=503, error="upstream_reset"),
    "twice": Kind(many=10, status=400, error="bad_request", twice=True),
    "stranger": Kind(many=10, status=401, error="unauthenticated", key="nobody's"),
    "unknown": Kind(many=20, backends=(), status=404, error="not_found"),
}
REQUESTS = sum(kind.many for kind in KINDS.values())


def kinds() -> list[str]:
    """The kind of each request, in the order in which they are asked."""
    names = [name for name, kind in KINDS.items() for _ in range(kind.many)]
    random.Random(1).shuffle(names)
    return names


def asked(name: str) -> tuple[str, bytes]:
    """Path and body of a request of a kind."""
    kind, client = KINDS[name], CLIENT_DIALECTS[KINDS[name].client]
    body = dict(client.body(name))
    if kind.stream and not client.stream_path:
        body["stream"] = True
    path = client.stream_path if kind.stream and client.stream_path else client.path
    if kind.budgeted:
        said = {"role": "user", "content": ""}
        body |= {"max_tokens": BUDGETED.output, "messages": [said]}
        said["content"] = "a" * (4 * (BUDGETED.input - 1) - len(json.dumps(body)))
    sent = json.dumps(body).encode()
    return path.format(name), sent.replace(b"{", b'{"model": "%b", ' % name.encode(), 1) if kind.twice else sent


_IN_PATH = re.compile(r"/models?/([^/:]+)")


def model_of(received: Received) -> str:
    """What a provider is asked for."""
    found = _IN_PATH.search(received.path)
    return unquote(found[1]) if found else received.model


@dataclass
class Account:
    """What the providers served, by the model that was asked of them. Every answer has other counts."""

    input: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)
    output: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    nanos: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    def serve(self, received: Received) -> Answer | Raw:
        model = model_of(received)
        text, drawn = "embeddings" not in received.path, "images" in received.path
        with self._lock:
            cached, fresh = self._random.randrange(50), self._random.randrange(1, 500)
            output = self._random.randrange(1, 900)
            cached, output = cached if text and not drawn else 0, output if text else 0
            usage = Usage(input=fresh + cached, cached=cached, output=output)
            if KINDS[model].budgeted:
                fresh, cached, usage = BUDGETED.input, 0, BUDGETED
            self.input[model] += usage.input
            self.cached[model] += cached
            self.output[model] += usage.output
            self.answers[model] += 1
            self.nanos[model] += (fresh * 5 + cached + usage.output * 20) * 500
        return _image(usage) if drawn else Answer(usage=usage)


PRICES = "prices: [{model: '*', input: 2.5, cached_input: 0.5, output: 10, reasoning: 12}]"
"""What `Account.nanos` reckons with."""


def _image(usage: Usage) -> Raw:
    counted = {"input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.input + usage.output}
    return Raw(body=json.dumps({"created": 1, "data": [{"b64_json": "aGk="}], "usage": counted}).encode())


def script(account: Account, provider: str) -> Callable[[Received], Any]:
    """What a provider answers."""

    def answer(received: Received) -> Any:
        kind = KINDS[model_of(received)]
        first = kind.backends[0] == provider
        return kind.reply if first and kind.reply is not None else account.serve(received)

    return answer


def documents(stage: Stage) -> list[Document]:
    """The gateway's configuration."""
    aws = {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}}
    signed = {**target("AIServiceBackend", "bedrock"), "type": "AWSCredentials", "awsCredentials": aws}
    credentials = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret-of-aws\n"
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-o"),
        *backend("second", stage["second"].port, key="sk-2"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
        *backend("gemini", stage["gemini"].port, "Gemini", key="sk-g"),
        *backend("cohere", stage["cohere"].port, "Cohere", key="sk-c"),
        *backend("bedrock", stage["bedrock"].port, "AWSBedrock"),
        *backend("images", stage["images"].port, key="sk-i"),
        *backend("gone", free_port()),
        secret("aws", credentials=credentials),
        document(f"{AI}/v1beta1", "BackendSecurityPolicy", "aws", signed),
        *(route(name, [_rule(name)]) for name, kind in KINDS.items() if kind.backends),
        *(_limit(name, kind.unit) for name, kind in KINDS.items() if kind.unit),
        *api_keys("clients", target("Gateway", manifests.GATEWAY), CLIENTS),
    ]


def _limit(name: str, unit: str) -> Document:
    prices = [{"model": "*", "input": 2_500_000, "output": 10_000_000}]
    more = {"requests": {}, "tokens": {"reservation": "Strict"}, "usd": {"reservation": "Strict", "prices": prices}}
    found = {"name": "all", "unit": unit, "amount": LIMIT * COSTS[unit] + COSTS[unit] // 2, "window": "lifetime"}
    spec = {**target("AIGatewayRoute", name), "rules": [{**found, **more[unit]}]}
    return document("headgate.dev/v1alpha1", "LimitPolicy", name, spec)


def _rule(name: str) -> Document:
    return rule(name, *(ref(each, priority=number) for number, each in enumerate(KINDS[name].backends)))
