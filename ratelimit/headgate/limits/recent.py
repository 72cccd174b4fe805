"""Which counters were asked for lately: for showing."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from headgate.limits.matching import Entries, Match

RECENT_MAX: Final = 1000


class Recent:
    """The counters asked for last, `most` of them, and by which entries of which domain. One that pools share is
    one for each of them."""

    def __init__(self, most: int = RECENT_MAX) -> None:
        self._most = most
        self._asked: OrderedDict[tuple[str, str, str], Entries] = OrderedDict()

    def note(self, domain: str, match: Match, entries: Entries) -> None:
        """Says that the counter of `match` was asked for now, in a request for `domain`."""
        key = domain, match.stem, match.rule.key
        if key in self._asked:
            self._asked.move_to_end(key)
            return
        if len(self._asked) >= self._most:
            self._asked.popitem(last=False)
        self._asked[key] = entries

    def of(self, domain: str) -> Iterator[Entries]:
        """Those of a domain, the one asked for last at the end."""
        return (entries for (of, _, _), entries in self._asked.items() if of == domain)
