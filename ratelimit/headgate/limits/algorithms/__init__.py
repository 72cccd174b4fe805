"""What an algorithm does with a counter: one module each, named after its operation's class.

An algorithm is a frozen operation (what a storage is asked to do, as data) and pure functions over it. A storage runs
operations by their class; Redis has the same arithmetic in Lua, and one conformance suite holds both to it. What all
share is in `counting`.
"""

from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.algorithms.pooled_window import PooledOp
from headgate.limits.algorithms.token_bucket import TokenBucketOp

Op = FixedWindowOp | TokenBucketOp | PooledOp
"""Every operation a storage must know."""
