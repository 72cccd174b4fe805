"""Bytes of a response body to frames and back: what a stream is cut into before any dialect looks at it.

Every framing has the same shape: a decoder with `feed(chunk) -> list[frame]` and `close() -> list[frame]`, whose result
does not depend on how the bytes were cut, and an `encode_*` function for one frame.
"""
