"""A program that becomes another one which the kernel kills when its parent dies: `die_with_parent.py PARENT COMMAND…`.

It stands before the command because the request has to be made by the child itself, and doing it between fork and exec
would need a real fork, in which gRPC's fork handlers abort the child. Run with `python -I -S`, it costs some 15 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_STARTED = 127


def main() -> None:
    """Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent died before the request was made.
        os._exit(EXIT_NOT_STARTED)
    try:
        os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NOT_STARTED)


if __name__ == "__main__":
    main()
