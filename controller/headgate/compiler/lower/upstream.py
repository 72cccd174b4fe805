"""The upstream filters of an AI cluster: what happens to one attempt for one backend.

Order, with reasons:
1. lua: sets host and path, rewrites the body (native lane); starts from the client's originals, because Envoy shares
   request headers between attempts. Where there is nothing to change a route chooses a script of 5 us less.
2. header_mutation: strips credentials and internal headers, before anything outside of Envoy sees them; then sets the
   backend's own, adds what its dialect wants and the client did not say (`anthropic-version`), and asks for an
   identity-encoded answer, which is all that usage can be read from.
3. ext_proc, named after the backend's dialect (`filter_name`): translates. Installed disabled: a route whose clients
   speak another dialect enables it. (Installed enabled and disabled by a route, it costs a request 3 us.)
4. lua, where requests may bring their own credential: puts it into the backend's header, or answers 401.
5. credential injection or AWS signing: last, so that nothing can see or change it, and the signature covers the result.
6. header_mutation, of answers alone: the first to see one, so that what bears a name of ours behind it was set by us.
   It also strips what a provider says of its own origin.
7. upstream_codec: required by Envoy.
"""

from functools import lru_cache

import msgspec
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutationRules
from envoy.extensions.filters.http.aws_request_signing.v3.aws_request_signing_pb2 import AwsRequestSigning
from envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import CredentialInjector
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExternalProcessor,
    HeaderForwardingRules,
    MetadataOptions,
)
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue
from headgate import lua
from headgate.compiler.body_paths import mutation_of
from headgate.compiler.ir import Backend, Credential, CredentialKind, MatchKind, Pairs
from headgate.compiler.lanes import TRANSLATED, Lane, PathClass, paths_in, speaker_of
from headgate.compiler.lower import tracing
from headgate.compiler.lower.filters import brought, published
from headgate.compiler.lower.filters.extraction import EXTPROC_CLUSTER, MESSAGE_TIMEOUT_SECONDS
from headgate.compiler.lower.wire import (
    Json,
    add_header_if_absent,
    ads,
    duration,
    extension,
    http_filter,
    inline,
    literal,
    packed,
    script,
    serialised,
    set_header,
    struct,
    told,
)
from headgate.compiler.options import Options
from headgate.contract import facts, headers, metadata
from headgate.llm.bridge import own_headers
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.hosts.azure import VERSIONLESS
from headgate.llm.hosts.table import HOSTS
from headgate.llm.hosts.vertex import publisher_path
from headgate.llm.names import DialectName, HostName
from headgate.pb import overlay

# The request's headers are sent although nothing in them is needed: that holds the headers back until the body is
# translated. Skipped, they run ahead to the codec, and Envoy 1.40 sends the untranslated body or, when a body of some
# 100 KB meets a cluster without a ready connection, dies of a segmentation fault (full duplex bodies: the same).
MODE = ProcessingMode(
    request_header_mode=ProcessingMode.SEND,
    request_body_mode=ProcessingMode.BUFFERED,
    request_trailer_mode=ProcessingMode.SKIP,
    # Not SKIP: skipped headers are gone before the body is known. A provider's nonsense would keep its 200 and a
    # compressed answer its label.
    response_header_mode=ProcessingMode.SEND,
    # Answers need not wait for a reply to their headers, and those can wait for what follows: a stream that fails
    # before it has said anything fails over.
    response_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED,
    response_trailer_mode=ProcessingMode.SEND,  # Envoy insists; few answers have any
)
"""Two messages of the request, and the answer's headers and pieces as they come."""
SCRIPT = "headgate.lua/upstream"
UNTOUCHED = "untouched"
"""Instead of a script, where a route's backend gets the request unchanged."""
ASKER = "asking"
KEEPER = "translated"
"""The names of short scripts. A route chooses the first where streams are to end with their usage and all else is
unchanged, the second where the processor writes all of the request, for backends that may be asked again."""
RENAMER = "renaming"
"""No script, but that a route tells the long one nothing but another model: it looks at no header then."""
AZURE_V1_PREFIX = "/openai/v1"
FORWARDED = (":path", headers.ORIGINAL_PATH, ":status", "content-type", "content-encoding", "anthropic-version")
FORWARDED_PREFIX = "x-amzn-"
"""What of requests' and answers' headers the processor reads, and so all that it is sent, with the header of the
provider's request ids: a dialect that reads another one must name it here.

Little of it differs from one request to the next, so the processor knows most of these messages by heart. Not
`x-request-id` therefore, unless it is the provider's own name for its ids: on requests it is Envoy's.
"""
STRIPPED = (
    *headers.CREDENTIALS,
    headers.MODEL,
    headers.ORIGINAL_PATH,
    headers.PROMPT_TOKENS,
    *headers.INTERNAL,
    "x-ai-eg-internal-req-id",
    "x-headgate-client",
    "x-envoy-attempt-count",
    "x-envoy-external-address",
    "x-envoy-internal",
)
"""What no provider sees, with `headers.FORWARDED_PREFIX`: the client's credentials, our own headers, and Envoy's.
`hosts.virtual_host` removes what tells of the client, once for all clusters.

A list, because to pass only what is known would keep from providers what clients ask for by header (`anthropic-beta`,
`idempotency-key`), and what will be invented.
"""
STRIPPED_ANSWER = (
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "alt-svc",
    "clear-site-data",
    "location",
    "set-cookie",
    "strict-transport-security",
)
"""What no client sees: it speaks of the provider's origin, and a client would take it for the gateway's. And where to
ask instead: official clients go there with the whole body, and HTTP libraries take `authorization` away on that way,
but not `x-api-key`, which is a key for the gateway."""


def filter_name(backend: Backend) -> str:
    """The name under which a route enables the processor for backends of this one's dialect.

    Backends that it is forced on have a name of their own: a route may enable it for them alone.
    """
    return f"headgate.ext_proc/{backend.dialect}{'/forced' if backend.forced_by else ''}"


def backend_facts(backend: Backend, route: str, options: Options) -> facts.BackendFacts:
    """What the processor is told about the backend."""
    assert backend.dialect is not None
    return facts.BackendFacts(
        name=backend.name,
        dialect=backend.dialect,
        host=backend.host,
        vendor=backend.vendor,
        prefix=backend.prefix,
        version=backend.version,
        project=backend.project,
        region=backend.region,
        model=backend.model,
        route=route,
        announced=published.by_route(backend, options),
        as_text=published.as_text(backend, options),
        body=mutation_of(backend.body_set, backend.body_remove),
        include_usage=backend.include_usage,
        losses=backend.losses,
        models=backend.models,
        response_model=backend.response_model,
        body_bytes_max=options.body_bytes_max,
    )


def translated_paths(backend: Backend, options: Options) -> tuple[str, ...]:
    """The client paths that the processor serves for this backend."""
    if not options.extproc_sockets or backend.dialect not in TRANSLATED:
        return ()
    return paths_in(Lane.EXTPROC, speaker_of(backend))


_MODELS_PATHS = {DialectName.GEMINI: "/models/", DialectName.BEDROCK_CONVERSE: "/model/"}
"""What stands before the model in the paths of dialects that name it there."""


def _has_deployments(backend: Backend) -> bool:
    """Whether the backend is Azure's surface whose paths name the deployment, which the script takes from the model."""
    return backend.host is HostName.AZURE and backend.version not in VERSIONLESS


def _prefix(backend: Backend, *, deployments: bool) -> str:
    """What stands before an endpoint's own path at the provider."""
    if backend.host is HostName.AZURE and not deployments:
        return AZURE_V1_PREFIX
    if backend.host is HostName.VERTEX and backend.dialect is not None:
        return publisher_path(backend.dialect, backend.prefix, backend.project, backend.region)
    return backend.prefix


def _lua_context(backend: Backend, route: str, options: Options) -> dict[str, Json]:
    deployments = _has_deployments(backend)
    models_path = _MODELS_PATHS.get(backend.dialect) if backend.dialect is not None else None
    values: dict[str, lua.Value] = {
        "root": options.path_root.rstrip("/"),
        "host": backend.authority,
        "prefix": _prefix(backend, deployments=deployments),
        "azure_version": backend.version if deployments else "",
        "translate": translated_paths(backend, options),
        "alone": backend.alone,
        "model": "" if models_path else backend.model,
        "models_path": models_path,
        "path_model": backend.model if models_path else "",
        "include_usage": backend.include_usage,
        **_body_context(mutation_of(backend.body_set, backend.body_remove)),
        "managed": backend.managed_headers,
    }
    if not published.by_route(backend, options):
        values["publish"] = published.names(backend, route, metadata.LANE_NATIVE)
    return told({name: value for name, value in values.items() if value})


def _body_context(body: facts.BodyMutation) -> dict[str, lua.Value]:
    within = tuple((name, _body_context(inner)) for name, inner in body.within.items())
    return {"body_set": tuple(body.set.items()), "body_remove": body.remove, "body_within": within}


def scripts_by_host(options: Options) -> bool:
    """Whether the script stands once in each virtual host: embedded in a cluster, it was most of what that weighed."""
    return options.envoy_gateway and not options.lua_directory


def host_scripts() -> Struct:
    """The metadata of a virtual host, under the name `SCRIPT`, from which its clusters take their script."""
    return struct({lua.version("upstream"): lua.compact("upstream")})


@lru_cache(maxsize=16)
def _scripts(options: Options, *, asks: bool) -> bytes:
    """All of the script's filter but what it is told, serialised: it stands in each cluster."""
    if scripts_by_host(options):
        message = Lua(default_source_code=inline(lua.by_virtual_host("upstream")))
    else:
        message = Lua(default_source_code=script("upstream", options.lua_directory))
    if not options.envoy_gateway:  # no route chooses it there
        for short in (ASKER, KEEPER) if asks else (KEEPER,):
            message.source_codes[short].CopyFrom(script(short, options.lua_directory))
    overlay.lua_shared_vm(message, "headgate-upstream")
    return serialised(message)


def _lua(backend: Backend, route: str, options: Options) -> HttpFilter:
    own = Lua()
    overlay.lua_filter_context(own, _lua_context(backend, route, options))
    return http_filter(SCRIPT, own, _scripts(options, asks=backend.alone and backend.include_usage))


def short_native(backend: Backend) -> str:
    """What a backend that is alone needs of the script, where Envoy serves it by itself and requests are unchanged."""
    return ASKER if backend.include_usage else UNTOUCHED


def unchanged(backend: Backend, path_class: PathClass) -> bool:
    """Whether a native request of this class reaches the backend with its own path, headers and body, but for usage."""
    return _keeps_path(backend, path_class) and not (backend.model or _edits(backend))


def renamed(backend: Backend, path_class: PathClass) -> bool:
    """Whether all of it but its model does, and its body is JSON with a model, if a model is asked for: `request.lua`
    has seen to it on such paths."""
    is_json = path_class.kind is MatchKind.EXACT and not path_class.multipart
    changes = backend.include_usage or _edits(backend)
    return is_json and _keeps_path(backend, path_class) and bool(backend.model) and not changes


def _keeps_path(backend: Backend, path_class: PathClass) -> bool:
    keeps = backend.prefix in ("", "/v1") and f"{path_class.path}/".startswith("/v1/")
    return backend.dialect is not None and backend.host is HostName.DIRECT and keeps


def _edits(backend: Backend) -> bool:
    return bool(backend.body_set or backend.body_remove or backend.managed_headers)


@lru_cache(maxsize=4096)
def chosen(short: str, model: str) -> Any:
    """Per-route config that chooses a short script, or none; or tells the long one the `model` alone."""
    if short == RENAMER:
        return packed(LuaPerRoute(filter_context=struct(told({"renames": True, "model": model}))))
    return packed(LuaPerRoute(disabled=True) if short == UNTOUCHED else LuaPerRoute(name=short))


def _forwarded(dialect: DialectName, host: HostName, *, traced: bool) -> HeaderForwardingRules:
    spoken, where = DIALECTS.get(dialect), HOSTS.get(host)
    request_id = () if spoken is None or not spoken.request_id_header else (spoken.request_id_header,)
    in_body = () if where is None else where.headers_in_body
    rules = HeaderForwardingRules()
    context = tracing.CONTEXT_HEADERS[:1] if traced else ()
    for name in sorted({*FORWARDED, *request_id, *in_body, *context}):
        rules.allowed_headers.patterns.add(exact=name)
    rules.allowed_headers.patterns.add(prefix=FORWARDED_PREFIX)
    return rules


@lru_cache(maxsize=256)
def _processing(dialect: DialectName, host: HostName, *, traced: bool, tells: bool) -> bytes:
    """All of a processor's filter but whom it asks, serialised; see `MODE`. `tells`: beside what users read also what
    is between filters of ours."""
    namespaces = (metadata.NAMESPACE, metadata.INTERNAL) if tells else (metadata.NAMESPACE,)
    message = ExternalProcessor(
        processing_mode=MODE,
        forward_rules=_forwarded(dialect, host, traced=traced),
        message_timeout=duration(MESSAGE_TIMEOUT_SECONDS),
        mutation_rules=HeaderMutationRules(allow_all_routing=BoolValue(value=True)),
        metadata_options=MetadataOptions(receiving_namespaces=MetadataOptions.MetadataNamespaces(untyped=namespaces)),
    )
    return serialised(message)


def _processor(backend: Backend, route: str, options: Options) -> HttpFilter:
    """The translating processor of one backend."""
    assert backend.dialect is not None
    message = ExternalProcessor()
    service = message.grpc_service
    known = msgspec.json.encode(backend_facts(backend, route, options)).decode()
    service.initial_metadata.add(key=headers.GRPC_BACKEND, value=literal(known))
    service.envoy_grpc.cluster_name = EXTPROC_CLUSTER
    service.envoy_grpc.skip_envoy_headers = True  # nobody reads Envoy's own of the stream
    traced = backend.captured or options.tracing is not None
    tells = traced or published.by_route(backend, options)
    rest = _processing(backend.dialect, backend.host, traced=traced, tells=tells)
    return http_filter(filter_name(backend), message, rest, disabled=True)


@lru_cache(maxsize=4096)
def _headers(backend_set: Pairs, backend_remove: tuple[str, ...], expected: Pairs, *, keeps_model: bool) -> bytes:
    message = HeaderMutation()
    mutations = message.mutations.request_mutations
    for name in (*STRIPPED, *backend_remove):
        if keeps_model and name == headers.MODEL:
            continue
        mutations.add(remove=name)
    mutations.add().remove_on_match.key_matcher.prefix = headers.FORWARDED_PREFIX
    for name, value in backend_set:
        mutations.add().append.CopyFrom(set_header(name, literal(value)))
    for name, value in expected:
        mutations.add().append.CopyFrom(add_header_if_absent(name, value))
    mutations.add().append.CopyFrom(set_header("accept-encoding", "identity"))
    return _listed(http_filter("headgate.header_mutation/attempt", message))


def _answer_headers() -> HttpFilter:
    message = HeaderMutation()
    mutations = message.mutations
    for stripped in (mutations.response_mutations, mutations.response_trailers_mutations):
        for prefix in headers.INTERNAL_PREFIXES:
            stripped.add().remove_on_match.key_matcher.prefix = prefix
    for name in STRIPPED_ANSWER:
        mutations.response_mutations.add(remove=name)
    # for the script that times streams: it knows what time it is, and not when the attempt was asked
    mutations.response_mutations.add().append.CopyFrom(set_header(headers.BEGAN, headers.BEGAN_FORMAT))
    return http_filter("headgate.header_mutation/answer", message)


def _attempt_headers(backend: Backend, options: Options) -> bytes:
    # the script sets the host, and Envoy refuses a header_mutation that would
    own = tuple((name, value) for name, value in backend.header_set if name != "host")
    removed = tuple(name for name in backend.header_remove if name != "host") + tracing.withheld(options.tracing)
    # Envoy Gateway's limits and its users' access logs read the model's header when the answer is over (compat): gone,
    # nothing would be charged. Envoy keeps one set of request headers, so the provider is told too.
    return _headers(own, removed, _expected(backend), keeps_model=options.envoy_gateway)


def _expected(backend: Backend) -> Pairs:
    """What the backend's dialect wants from every client, for those that do not send it."""
    spoken = DIALECTS.get(backend.dialect) if backend.dialect is not None else None
    if spoken is None or backend.host is not HostName.DIRECT:
        return ()  # of other hosts the processor writes it
    sent = own_headers(spoken, HOSTS[backend.host], backend.version)
    return tuple(pair for pair in sent.items() if pair[0] not in backend.header_remove)


@lru_cache(maxsize=4096)
def _credential(credential: Credential, secrets_directory: str) -> bytes:
    if credential.kind in (CredentialKind.AWS, CredentialKind.AWS_CHAIN):
        return _listed(_aws(credential, secrets_directory))
    generic = Generic(header=credential.header)
    generic.credential.CopyFrom(SdsSecretConfig(name=credential.secret, sds_config=ads()))
    # the attempt's other filters have stripped what the client sent: what is there is what the request brought for us
    message = CredentialInjector(overwrite=credential.override is None)
    message.credential.CopyFrom(extension("envoy.http.injected_credentials.generic", generic))
    return _listed(http_filter("envoy.filters.http.credential_injector", message))


def _aws(credential: Credential, secrets_directory: str) -> HttpFilter:
    message = AwsRequestSigning(service_name="bedrock", region=credential.region)
    message.match_included_headers.append(StringMatcher(exact="content-type"))
    if credential.kind is CredentialKind.AWS_CHAIN:
        return http_filter("envoy.filters.http.aws_request_signing", message)
    source = message.credential_provider
    source.custom_credential_provider_chain = True
    file = source.credentials_file_provider.credentials_data_source
    if secrets_directory:
        file.filename = f"{secrets_directory}/{credential.secret}"
        file.watched_directory.path = secrets_directory
    else:
        file.inline_string = credential.value.reveal()
    source.credentials_file_provider.profile = credential.profile
    return http_filter("envoy.filters.http.aws_request_signing", message)


@lru_cache(maxsize=1)
def _last() -> bytes:
    codec = http_filter("envoy.filters.http.upstream_codec", UpstreamCodec())
    return _listed(_answer_headers()) + _listed(codec)


def _listed(one: HttpFilter) -> bytes:
    """The filter as a part of `HttpProtocolOptions`."""
    return serialised(HttpProtocolOptions(http_filters=(one,)))


def upstream_filters(backend: Backend, route: str, options: Options) -> bytes:
    """The filters of an AI backend, in the order of this module's docstring, as a part of `HttpProtocolOptions`,
    serialised: most of them are the same for thousands of backends."""
    result = [_listed(_lua(backend, route, options)), _attempt_headers(backend, options)]
    if backend.dialect in TRANSLATED and options.extproc_sockets:
        result.append(_listed(_processor(backend, route, options)))
    if backend.credential is not None and backend.credential.override is not None:
        result.append(_listed(brought.injector(backend.credential, backend.credential.override, options)))
    if backend.credential is not None and (backend.credential.override is None or backend.credential.override.fallback):
        result.append(_credential(backend.credential, options.secrets_directory))
    result.append(_last())
    return b"".join(result)
