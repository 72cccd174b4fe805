"""Objects of our kinds, and what is to be said of them: by an API server that has our CRDs, and by the reader of files.

One table for both. `tests/cluster/test_crds.py` asks the API server, `tests/unit/compiler/test_crd_cases.py` the
reader. A module for each API group.
"""

from collections.abc import Sequence

from support.crd_cases import ai_gateway, headgate
from support.crd_cases.ai_gateway import UNREAD
from support.crd_cases.case import Case

READ: Sequence[Case] = (*ai_gateway.READ, *headgate.READ)
"""What the reader is to say the same of."""
ALL: Sequence[Case] = (*READ, *ai_gateway.OLD_ONLY, *UNREAD)

__all__ = ["ALL", "READ", "UNREAD", "Case"]
