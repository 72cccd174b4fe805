"""Dynamic metadata namespaces and keys."""

from typing import Final

NAMESPACE: Final = "io.envoy.ai_gateway"
"""compat: what users read in access logs and rate limits."""

INTERNAL: Final = "headgate"
"""What our own filters tell each other."""
INTERNAL_MODEL: Final = "model"
INTERNAL_STREAM: Final = "stream"
INTERNAL_PATH: Final = "path"
INTERNAL_MAX_TOKENS: Final = "max_tokens"
"""Tokens that a request may be answered with, all its choices together."""
INTERNAL_CHOICES: Final = "choices"
"""How many answers it asks for, if more than one, where it does not say how long they may be."""
INTERNAL_TEXT_BYTES: Final = "text_bytes"
"""Bytes of a request's body that are text, a file in it as 3,060, where that is not what was received: files come in
it, or it has no length, as what was compressed. A prompt is guessed to be a quarter."""
INTERNAL_CLIENT: Final = "client"
INTERNAL_FETCHED: Final = "fetched"
"""The id of what is stored and tells what it used each time: a response that was made in the background, a batch."""
INTERNAL_BATCH: Final = "batch"
"""The JSON of a batch that was fetched and tells what it used; `INTERNAL_FETCHED` is its id."""
INTERNAL_FACTS: Final = "facts"
"""What a script or the processor published of an answer in `NAMESPACE`, as members of a JSON object with a comma
before each. Not where the client's path is not JSON as it is: the line can escape nothing."""
INTERNAL_NAMES: Final = "names"
"""On routes: what the route publishes, likewise; see `filters.published.line`."""
INTERNAL_COSTS: Final = "costs"
"""On routes whose requests a collector hears of: their costs, a JSON list of `[key, expression]`."""
INTERNAL_PARAMETERS: Final = "parameters"

CREDENTIALS: Final = "headgate.credentials"
"""Says which credentials clients sent for a provider, by the header they came in; begins the names of filter state that
holds them, which nothing logs or forwards."""

RESOURCE: Final = "aigateway.envoy.io"
"""compat: metadata on clusters."""
RESOURCE_BACKEND: Final = "per_route_rule_backend_name"
RESOURCE_PROVIDER: Final = "provider"
"""Ours: whom telemetry calls the backend's provider (`gen_ai.provider.name`)."""

TAG_PROVIDER: Final = "provider"
TAG_FIRST_BODY: Final = "first_body_us"
TAG_COSTS: Final = "costs"
"""Tags of access-log entries: from a cluster's metadata, microseconds until the first byte of the answer's body, and a
route's `INTERNAL_COSTS`."""

# Keys in NAMESPACE; token counts are numbers. Input includes cached and cache-creation tokens.
INPUT_TOKENS: Final = "input_tokens"
CACHED_INPUT_TOKENS: Final = "cached_input_tokens"
CACHE_CREATION_INPUT_TOKENS: Final = "cache_creation_input_tokens"
OUTPUT_TOKENS: Final = "output_tokens"
TOTAL_TOKENS: Final = "total_tokens"
REASONING_TOKENS: Final = "reasoning_tokens"
AUDIO_SECONDS: Final = "audio_seconds"
"""Ours: of transcribed audio, whole ones, where the provider counts those and no tokens."""
# Ours as well, where they are not 0: what is sold at prices of its own. Tokens here are parts of the counts above.
CACHE_CREATION_1H_INPUT_TOKENS: Final = "cache_creation_1h_input_tokens"
AUDIO_INPUT_TOKENS: Final = "audio_input_tokens"
AUDIO_OUTPUT_TOKENS: Final = "audio_output_tokens"
IMAGE_INPUT_TOKENS: Final = "image_input_tokens"
IMAGE_OUTPUT_TOKENS: Final = "image_output_tokens"
WEB_SEARCHES: Final = "web_searches"
IMAGES: Final = "images"
"""Of a whole answer."""
CHARACTERS: Final = "characters"
"""Of the text that a request has spoken: it is told before anybody has served it."""
PROMPT_TOKENS: Final = "prompt_tokens"
"""The exact count of the prompt, made by a router-level stream before admission."""
BACKEND_NAME: Final = "backend_name"
SERVICE_BACKEND_NAME: Final = "ai_service_backend_name"
MODEL_NAME_OVERRIDE: Final = "model_name_override"
ROUTE_NAME: Final = "route_name"
RESPONSE_MODEL: Final = "response_model"
RESPONSE_ID: Final = "response_id"
FINISH_REASONS: Final = "finish_reasons"
"""Ours: as the answer calls itself, and why it ended, in OpenTelemetry's words (a list: of each of several answers)."""
LOSSES: Final = "losses"
CONTENT_LENGTH: Final = "content_length"
"""Bytes of the body that the processor made of the request's."""
LATENCY_TTFT: Final = "token_latency_ttft"
"""Whole milliseconds from the attempt's request to the first piece of a streamed answer."""
LATENCY_ITL: Final = "token_latency_itl"
"""Milliseconds between two tokens of a streamed answer, on average."""
USAGE_SOURCE: Final = "usage_source"
"""Where the counts are from."""
USAGE_REPORTED: Final = "reported"
USAGE_ESTIMATED: Final = "estimated"
USAGE_NONE: Final = "none"
LANE: Final = "lane"
"""Ours: which lane the last attempt took."""
LANE_NATIVE: Final = "native"
LANE_EXTPROC: Final = "extproc"

USAGE_KEYS: Final = (
    INPUT_TOKENS,
    CACHED_INPUT_TOKENS,
    CACHE_CREATION_INPUT_TOKENS,
    OUTPUT_TOKENS,
    TOTAL_TOKENS,
    REASONING_TOKENS,
    AUDIO_SECONDS,
)
APART_KEYS: Final = (
    AUDIO_SECONDS,
    CACHE_CREATION_1H_INPUT_TOKENS,
    AUDIO_INPUT_TOKENS,
    AUDIO_OUTPUT_TOKENS,
    IMAGE_INPUT_TOKENS,
    IMAGE_OUTPUT_TOKENS,
    WEB_SEARCHES,
    IMAGES,
)
"""What an answer tells that is sold at prices of its own."""

PLAIN: Final = "HTTPRoute/"
"""What names of an HTTPRoute's rules begin with: an AIGatewayRoute may be called as it is."""
SEVERAL_CLASSES: Final = "translated"
"""In the names of routes that serve several classes of paths, which the processor tells apart."""
