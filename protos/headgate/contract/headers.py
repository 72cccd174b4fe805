"""HTTP header and gRPC invocation metadata names."""

from typing import Final

# compat
MODEL: Final = "x-ai-eg-model"
ORIGINAL_PATH: Final = "x-ai-eg-original-path"
ENVOY_ORIGINAL_PATH: Final = "x-envoy-original-path"
DESTINATION_ENDPOINT: Final = "x-gateway-destination-endpoint"

LOSSES: Final = "x-headgate-losses"
"""Response header: what the target could not express, and as `answer.…` what the client's dialect cannot, as
`path;reason` items joined by `, `."""

COUNT_SOURCE: Final = "x-headgate-count-source"
"""Response header of a token count: `provider` counted it, or this gateway did: `exact` or `estimated`."""

PROMPT_TOKENS: Final = "x-headgate-prompt-tokens"
"""Request header on routes that have prompts counted: the tokens of this one, for matches. No provider sees it."""

LIMIT_WARNING: Final = "x-headgate-limit-warning"
"""Response header: limits that are nearly used up, as `<rule>;used=<per cent>%` items joined by `, `."""

BEGAN: Final = "x-headgate-began"
"""Response header between our filters: `<the request's method>+<milliseconds from when the attempt was asked to its
answer>+<the request's id> <the beginning of its path>+<bytes of its body>`."""
BEGAN_FORMAT: Final = (
    "%REQ(:METHOD)%+%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%+%REQ(X-REQUEST-ID)% %REQ(:PATH):256%+%BYTES_RECEIVED%"
)

INTERNAL_PREFIXES: Final = ("x-ai-eg-", "x-headgate-")
"""Headers a client may never send: stripped before any filter runs, and again before a provider sees them."""

INTERNAL: Final = (ENVOY_ORIGINAL_PATH, DESTINATION_ENDPOINT)
"""Internal headers that carry neither prefix."""

CREDENTIALS: Final = (
    # The client's key for the gateway, in a header that some provider would read its own from.
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "apikey",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-amz-security-token",
    # Tokens that applications and the gateways before this one send.
    "x-auth-token",
    "x-access-token",
    # What browsers send by themselves.
    "cookie",
)
"""Removed from every attempt before that backend's own credential is injected."""

FORWARDED_PREFIX: Final = "x-forwarded-"

CLIENT_ORIGIN: Final = (
    # Where the client is, as proxies before this one say it.
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    # Who has logged in there, as tokens.
    "cf-access-jwt-assertion",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-goog-iap-jwt-assertion",
    "x-ms-token-aad-access-token",
    # Which page it is on; Anthropic refuses a request from a browser, which this one no longer is.
    "origin",
    "referer",
)
"""Kept from providers, with `FORWARDED_PREFIX`: who and where the client is is no business of theirs."""

OVERRIDES: Final = (
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    # A part of an answer may leave out what it used; any server may answer with all of it (RFC 9110, 14.2).
    "range",
)
"""Kept from providers: a server that honours them does something else than what was allowed and counted."""

BROUGHT: Final = (
    "x-aigw-api-key",
    "x-aigw-anthropic-api-key",
    "x-aigw-azure-api-key",
    "x-aigw-azure-access-token",
    "x-aigw-gcp-access-token",
    "x-aigw-aws-access-key-id",
    "x-aigw-aws-secret-access-key",
    "x-aigw-aws-session-token",
)
"""compat: where a client sends its own credential for a provider, if nothing else is configured."""

# gRPC invocation metadata of an ext_proc stream.
GRPC_BACKEND: Final = "x-headgate-backend"
"""`BackendFacts` as JSON: this stream translates for that backend (upstream position)."""
GRPC_ENDPOINT: Final = "x-headgate-endpoint"
"""Name of the client's endpoint (`headgate.llm.endpoints`), where the path alone does not tell: below a root."""
GRPC_ROUTER: Final = "x-headgate-router"
"""`RouterFacts` as JSON: this stream reads the request for routing (listener position)."""

# gRPC invocation metadata of a rate limit call. Envoy formats these values for each call.
GRPC_MOMENT: Final = "x-headgate-moment"
"""Whether the request is yet to be served (`0-`, `100-`) or over: the value to configure is `GRPC_MOMENT_FORMAT`."""
GRPC_MOMENT_FORMAT: Final = "%RESPONSE_CODE%%RESPONSE_FLAGS%"
GRPC_STREAM: Final = "x-headgate-stream"
"""Names the request, the same at both moments: the value to configure is `GRPC_STREAM_FORMAT`. Nothing of it comes from
the client, who could otherwise settle what another has reserved."""
GRPC_STREAM_FORMAT: Final = "%HOSTNAME%/%CONNECTION_ID%/%START_TIME(%s%9f)%"
GRPC_FETCHED: Final = "x-headgate-fetched"
"""The id of a stored answer that was fetched, where it tells what it used: the value to configure is
`GRPC_FETCHED_FORMAT`. It tells that each time, and is charged once."""
GRPC_FETCHED_FORMAT: Final = "%DYNAMIC_METADATA(headgate:fetched)%"
GRPC_PATH: Final = "x-headgate-path"
"""The client's path, which tells the dialect of a refusal's body: the value to configure is `GRPC_PATH_FORMAT`."""
GRPC_PATH_FORMAT: Final = "%REQ(:path)%"
GRPC_ROOT: Final = "x-headgate-root"
"""What all paths of clients begin with, where there is such a thing; it is no part of what tells the dialect."""
