"""`make cluster`: builds what is needed, then runs tests/cluster, spread over processes in a network each.

They mostly wait, so three share two cores well. `ARGS="-n 1"` has one. With KUBECONFIG set, nothing is built and no
namespace made: the tests that need only an API server run against that cluster, in one process.
"""

import os
import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

from cluster.sandbox import SandboxError, enter_command
from cluster.tools import ToolsError, cache_root, ensure_tools

TOOLS_VARIABLE = "HEADGATE_TEST_CLUSTER_TOOLS"


def main(written: list[str]) -> None:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-n", type=int, default=3)
    options, arguments = parser.parse_known_args(written)
    paths = (
        []
        if any(not each.startswith("-") and Path(each.partition("::")[0]).exists() for each in arguments)
        else [str(Path(__file__).parent)]
    )
    pytest = [sys.executable, "-m", "pytest", *paths, *arguments]
    if os.environ.get("KUBECONFIG"):
        os.execvp(pytest[0], pytest)
    try:
        enter = enter_command()
        tools = ensure_tools()
    except (SandboxError, ToolsError) as error:
        sys.exit(f"make cluster: {error}")
    environment = {**os.environ, TOOLS_VARIABLE: str(tools.directory)}
    worker = [*enter, sys.executable, "-m", "cluster.sandbox", str(cache_root() / "root"), sys.executable]
    spread = ["--dist", "worksteal", "--tx", f"{options.n}*popen//python={shlex.join(worker)}"]
    os.execvpe(pytest[0], [*pytest, *spread], environment)


if __name__ == "__main__":
    main(sys.argv[1:])
