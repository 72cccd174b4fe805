"""Large buffers, one after the other, in a process of its own: the allocator cannot be set back."""

import platform
import subprocess
import sys
from typing import Final

import pytest

ROUNDS: Final = 200

PROGRAM: Final = f"""
import resource
from headgate.runtime.freed_memory import keep_freed_memory

keep_freed_memory()

def work():
    held = [bytes(1_000_000) for _ in range(3)]
    return "\\u20ac" * 500_000, held

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // {ROUNDS})
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: other C libraries have no such setting")
def test_memory_is_not_taken_anew_page_by_page() -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout

    assert int(printed) < 100
