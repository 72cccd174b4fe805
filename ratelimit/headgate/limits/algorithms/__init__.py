"""What an algorithm does with a counter: one module each, named after its operation's class.

An algorithm is a frozen operation (what a storage is asked to do, as data) and pure functions over it. A storage runs
operations by their class; Redis has the same arithmetic in Lua, and one conformance suite holds both to it.
"""

from headgate.limits.algorithms.fixed_window import FixedWindowOp

Op = FixedWindowOp
"""Every operation a storage must know; a union once there is a second algorithm."""
