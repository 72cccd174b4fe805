"""Generates what protobuf needs (`make protos`); `tests/unit/pb/test_generated.py` checks that it was run.

- `headgate/pb/<name>_pb2.py` and `.pyi` from the .proto files there. Imports of Envoy's own files are resolved from the
  xds-protos wheel, which ships descriptors but no .proto files.
- `typings/`: stubs for the wheel's modules that we import (`TYPED_MODULES`) and for all that those import.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

ROOT = Path(__file__).parent
PACKAGE = ROOT / "headgate" / "pb"
TYPINGS = ROOT / "typings"

WHEEL_IMPORTS = (
    "envoy.config.core.v3.http_service_pb2",
    "envoy.config.core.v3.extension_pb2",
    "envoy.extensions.filters.http.json_to_metadata.v3.json_to_metadata_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.wrappers_pb2",
)
"""What our .proto files import."""

TYPED_MODULES = (
    # resources
    "envoy.config.bootstrap.v3.bootstrap_pb2",
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.config.listener.v3.listener_pb2",
    "envoy.config.route.v3.route_pb2",
    # services
    "envoy.service.accesslog.v3.als_pb2",
    "envoy.service.auth.v3.external_auth_pb2",
    "envoy.service.discovery.v3.ads_pb2",
    "envoy.service.discovery.v3.discovery_pb2",
    "envoy.service.ext_proc.v3.external_processor_pb2",
    "envoy.service.ratelimit.v3.rls_pb2",
    # listener and HTTP connection manager
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.access_loggers.filters.cel.v3.cel_pb2",
    "envoy.extensions.access_loggers.grpc.v3.als_pb2",
    "envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2",
    "envoy.extensions.access_loggers.stream.v3.stream_pb2",
    "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2",
    "envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2",
    "envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.formatter.cel.v3.cel_pb2",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2",
    "envoy.extensions.http.original_ip_detection.custom_header.v3.custom_header_pb2",
    "envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2",
    # HTTP filters
    "envoy.extensions.common.matching.v3.extension_matcher_pb2",
    "envoy.extensions.filters.common.matcher.action.v3.skip_action_pb2",
    "envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2",
    "envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2",
    "envoy.extensions.filters.http.aws_request_signing.v3.aws_request_signing_pb2",
    "envoy.extensions.filters.http.bandwidth_limit.v3.bandwidth_limit_pb2",
    "envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2",
    "envoy.extensions.filters.http.buffer.v3.buffer_pb2",
    "envoy.extensions.filters.http.compressor.v3.compressor_pb2",
    "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2",
    "envoy.extensions.filters.http.custom_response.v3.custom_response_pb2",
    "envoy.extensions.filters.http.decompressor.v3.decompressor_pb2",
    "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2",
    "envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2",
    "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2",
    "envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2",
    "envoy.extensions.filters.http.health_check.v3.health_check_pb2",
    "envoy.extensions.filters.http.json_to_metadata.v3.json_to_metadata_pb2",
    "envoy.extensions.filters.http.jwt_authn.v3.config_pb2",
    "envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2",
    "envoy.extensions.filters.http.lua.v3.lua_pb2",
    "envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2",
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2",
    "envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2",
    "envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2",
    "envoy.extensions.http.custom_response.local_response_policy.v3.local_response_policy_pb2",
    "envoy.extensions.http.injected_credentials.generic.v3.generic_pb2",
    "envoy.extensions.http.injected_credentials.oauth2.v3.oauth2_pb2",
    "envoy.type.matcher.v3.status_code_input_pb2",
    # tracing
    "envoy.config.trace.v3.http_tracer_pb2",
    "envoy.config.trace.v3.opentelemetry_pb2",
    "envoy.extensions.request_id.uuid.v3.uuid_pb2",
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.always_on_sampler_pb2",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.parent_based_sampler_pb2",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.trace_id_ratio_based_sampler_pb2",
    "opentelemetry.proto.collector.logs.v1.logs_service_pb2",
    "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2",
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    # clusters
    "envoy.extensions.clusters.dns.v3.dns_cluster_pb2",
    "envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2",
    "envoy.extensions.compression.brotli.compressor.v3.brotli_pb2",
    "envoy.extensions.compression.gzip.compressor.v3.gzip_pb2",
    "envoy.extensions.compression.gzip.decompressor.v3.gzip_pb2",
    "envoy.extensions.compression.zstd.compressor.v3.zstd_pb2",
    "envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2",
    "envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2",
    "envoy.extensions.transport_sockets.http_11_proxy.v3.upstream_http_11_connect_pb2",
    "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
    # matching
    "envoy.extensions.common.matching.v3.extension_matcher_pb2",
    "envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2",
    "envoy.extensions.matching.input_matchers.ip.v3.ip_pb2",
    "envoy.extensions.matching.input_matchers.metadata.v3.metadata_pb2",
    "envoy.type.matcher.v3.http_inputs_pb2",
    "xds.type.matcher.v3.http_inputs_pb2",
    "xds.type.matcher.v3.matcher_pb2",
    "xds.type.v3.typed_struct_pb2",
)
"""Modules of the wheel that sources or tests import; what they import follows by itself. protobuf's own are not listed:
the type checker knows them."""


def _files(modules: Sequence[str]) -> tuple[descriptor_pb2.FileDescriptorSet, list[str]]:
    """The wheel's files of `modules` and their dependencies, dependencies first: as a set, and by name."""
    files = descriptor_pb2.FileDescriptorSet()
    names: list[str] = []

    def add(file: FileDescriptor) -> None:
        if file.name in names:
            return
        for dependency in file.dependencies:
            add(dependency)
        names.append(file.name)
        file.CopyToProto(files.file.add())

    for module in modules:
        add(import_module(module).DESCRIPTOR)
    return files, names


def _protoc(files: descriptor_pb2.FileDescriptorSet, *arguments: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".binpb") as wheel:
        wheel.write(files.SerializeToString())
        wheel.flush()
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={wheel.name}", *arguments], check=True
        )


def generate_code(out: Path) -> None:
    """Writes `headgate/pb/<name>_pb2.py` and `.pyi` below `out` for every .proto file of ours."""
    files, _ = _files(WHEEL_IMPORTS)
    sources = sorted(str(path.relative_to(ROOT)) for path in PACKAGE.glob("*.proto"))
    _protoc(files, f"--proto_path={ROOT}", f"--python_out={out}", f"--pyi_out={out}", *sources)


def generate_typings(out: Path) -> None:
    """Writes a stub below `out` for every typed module and for what it imports; empties `out` first."""
    files, names = _files(TYPED_MODULES)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _protoc(files, f"--pyi_out={out}", *sorted(name for name in names if not name.startswith("google/protobuf/")))


if __name__ == "__main__":
    generate_code(ROOT)
    generate_typings(TYPINGS)
