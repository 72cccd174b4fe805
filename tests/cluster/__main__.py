"""`make cluster`: builds what is needed, then runs tests/cluster in a network of its own.

With KUBECONFIG set, nothing is built and no namespace made: the tests that need only an API server run against that
cluster.
"""

import os
import sys
from pathlib import Path

from cluster.sandbox import SandboxError, enter_command
from cluster.tools import ToolsError, cache_root, ensure_tools

TOOLS_VARIABLE = "HEADGATE_TEST_CLUSTER_TOOLS"


def main(arguments: list[str]) -> None:
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
    os.execvpe(
        enter[0], [*enter, sys.executable, "-m", "cluster.sandbox", str(cache_root() / "root"), *pytest], environment
    )


if __name__ == "__main__":
    main(sys.argv[1:])
