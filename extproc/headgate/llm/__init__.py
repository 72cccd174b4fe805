"""Translates between LLM APIs: bytes in, bytes out. No sockets, no clock, no randomness, no logs."""
