"""`make compiled-test`: builds the wheel with the processor compiled, and runs its tests on that: nothing may
differ by it, neither what is written nor which errors hostile bytes end in.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMPILED_VARIABLE = "HEADGATE_TEST_COMPILED"
TESTS = (
    "compiled",
    "unit/extproc",
    "unit/llm",
    "golden/test_chat_answers.py",
    "golden/test_chat_requests.py",
    "golden/test_chat_streams.py",
    "property/test_llm_byte_stability.py",  # against processes that interpret
    "property/test_llm_requests.py::test_any_bytes_give_values_or_our_errors",
    "property/test_llm_requests.py::test_a_conversation_survives_the_trip_through_anthropic",
    "property/test_llm_streams.py::test_any_bytes_make_a_stream_the_client_understands",
)
"""Those of hostile bytes that are quickest; `ARGS=tests/property` adds the rest."""
HOOK = {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"}


def build(directory: Path) -> Path:
    """A folder with what the wheel holds; ends the program with the build's words where it fails."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    command = (*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(REPOSITORY))
    if subprocess.run(command, env={**os.environ, **HOOK}).returncode:
        sys.exit("make compiled-test: the wheel could not be built")
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="headgate-compiled-") as directory:
        print("==> building the wheel with the processor compiled (a minute or two)", flush=True)
        # before what is installed editably, which .pth files add
        found = {"PYTHONPATH": str(build(Path(directory))), COMPILED_VARIABLE: "1"}
        tests = [str(REPOSITORY / "tests" / each) for each in TESTS]
        command = (sys.executable, "-m", "pytest", "-q", *tests, *arguments)
        return subprocess.run(command, env={**os.environ, **found}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
