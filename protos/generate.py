"""Generates the Python code and stubs of headgate/pb/*.proto (`make protos`).

Imports of Envoy's own files are resolved from the xds-protos wheel, which ships descriptors but no .proto files.
"""

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

ROOT = Path(__file__).parent
PACKAGE = ROOT / "headgate" / "pb"
WHEEL_IMPORTS = (
    "envoy.config.core.v3.extension_pb2",
    "envoy.extensions.filters.http.json_to_metadata.v3.json_to_metadata_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.wrappers_pb2",
)


def wheel_descriptors() -> bytes:
    """A serialized FileDescriptorSet of the wheel's files that ours import, dependencies first."""
    files = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(files.file.add())

    for module in WHEEL_IMPORTS:
        add(import_module(module).DESCRIPTOR)
    return files.SerializeToString()


def generate(out: Path) -> None:
    """Writes `headgate/pb/<name>_pb2.py` and `.pyi` below `out` for every .proto file."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as wheel:
        wheel.write(wheel_descriptors())
        wheel.flush()
        sources = sorted(str(path.relative_to(ROOT)) for path in PACKAGE.glob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={wheel.name}", f"--proto_path={ROOT}"]
        subprocess.run([*command, f"--python_out={out}", f"--pyi_out={out}", *sources], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
