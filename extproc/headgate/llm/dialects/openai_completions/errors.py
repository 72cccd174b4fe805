"""Errors of completions: chat completions' own, word for word."""

from headgate.llm.dialects.openai_chat.errors import decode_error, encode_error

__all__ = ["decode_error", "encode_error"]
