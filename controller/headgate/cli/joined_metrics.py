"""The metrics of several processes as one page in Prometheus' text format. Pure.

A family stands once. Where more than one process may tell of it, its series say which `process` they are of.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

OF_EACH: Final = ("process_", "headgate_event_loop_", "headgate_extproc_")
"""How families begin that every process tells of itself, or several of one kind."""


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list[str])
    samples: list[str] = field(default_factory=list[str])


def joined(pages: Mapping[str, str]) -> str:
    """One page of those of processes, by their names."""
    families: dict[str, _Family] = {}
    for process, text in pages.items():
        for name, head, samples in _families(text):
            family = families.setdefault(name, _Family())
            family.head = family.head or head
            each = name.startswith(OF_EACH)
            family.samples += [_labelled(sample, process) for sample in samples] if each else samples
    lines = (line for family in families.values() for line in (*family.head, *family.samples))
    return "".join(f"{line}\n" for line in lines)


def _families(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, comments and samples. A family begins with its comments."""
    name, head, samples = "", list[str](), list[str]()
    for line in text.splitlines():
        if not line.startswith("#"):
            samples.append(line)
            continue
        named = line.split(" ", 3)[2]
        if named != name:
            if name:
                yield name, head, samples
            name, head, samples = named, [], []
        head.append(line)
    if name:
        yield name, head, samples


def _labelled(sample: str, process: str) -> str:
    brace, space = sample.find("{"), sample.find(" ")
    if 0 <= brace < space:
        return f'{sample[: brace + 1]}process="{process}",{sample[brace + 1 :]}'
    return f'{sample[:space]}{{process="{process}"}}{sample[space:]}'
