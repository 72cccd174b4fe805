"""`python -m headgate.runtime.drain SOCKET SECONDS`: what a pod does before Envoy is told to end.

New requests come for some seconds after a pod was told to go, until all of the cluster has heard of it: they are
served. Then clients are told that their connections end, and requests under way get the rest of `SECONDS`. What Envoy
has to tell of them is waited for after that.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from headgate.runtime.envoy import EnvoyAdmin

HEARD_SECONDS: Final = 5.0


def main() -> int:
    """Returns 0 also when requests were still under way: a hook that fails ends the pod no sooner."""
    _, socket, seconds = sys.argv
    asyncio.run(_drain(Path(socket), float(seconds)))
    return 0


async def _drain(socket: Path, seconds: float) -> None:
    await asyncio.sleep(min(HEARD_SECONDS, seconds))
    envoy = EnvoyAdmin(socket)
    await envoy.drain(max(0.0, seconds - HEARD_SECONDS))
    await envoy.flush()


if __name__ == "__main__":
    sys.exit(main())
