"""What the allocator does with large buffers that were freed."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""glibc's `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD`."""

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of freed memory, in each process; protects what else runs on the machine. Larger buffers are given back at once."""


def keep_freed_memory() -> None:
    """For processes that hold one large buffer after the other: glibc gives each back to the kernel as soon as it is
    freed, and takes it again a page at a time, each with a fault (a request of 1 MB, translated: 1,040 faults, a third
    of its CPU time). With other C libraries nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES_MAX)
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES_MAX)
