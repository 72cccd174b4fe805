"""The words for kinds of images, sounds, videos and documents, and bytes that other dialects write as text."""

import base64
import binascii
import re
from types import MappingProxyType
from typing import Final

IMAGE_FORMATS: Final = MappingProxyType(
    {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
)

DOCUMENT_FORMATS: Final = MappingProxyType(
    {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
        "application/json": "txt",
    }
)

VIDEO_FORMATS: Final = MappingProxyType(
    {
        "video/x-matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    }
)

AUDIO_FORMATS: Final = MappingProxyType(
    {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/mp4": "mp4",
        "audio/x-m4a": "m4a",
        "audio/webm": "webm",
        "audio/pcm": "pcm",
    }
)

AUDIO_WORDS: Final = frozenset(AUDIO_FORMATS.values()) | {"mka", "mkv", "x-aac", "mpeg", "mpga"}
VIDEO_WORDS: Final = frozenset(VIDEO_FORMATS.values()) | {"mpg"}


def _turned(formats: MappingProxyType[str, str]) -> MappingProxyType[str, str]:
    """Format word to media type; the first media type of several."""
    turned: dict[str, str] = {}
    for media_type, word in formats.items():
        turned.setdefault(word, media_type)
    return MappingProxyType(turned)


IMAGE_TYPES: Final = _turned(IMAGE_FORMATS)
DOCUMENT_TYPES: Final = _turned(DOCUMENT_FORMATS)
VIDEO_TYPES: Final = _turned(VIDEO_FORMATS)
AUDIO_TYPES: Final = _turned(AUDIO_FORMATS)

_BLOB_PREFIX: Final = "data:;base64,"

_NAME_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")
_SPACES: Final = re.compile(r" {2,}")
_NAME_CHARACTERS_MAX: Final = 180
"""Of 200: a number may have to follow."""


def document_name(title: str) -> str:
    """A title as the service allows it: letters, digits, single spaces, hyphens, parentheses, brackets."""
    name = _SPACES.sub(" ", _NAME_CHARACTERS.sub(" ", title)).strip()[:_NAME_CHARACTERS_MAX].strip()
    return name or "document"


def text_of_blob(blob: str) -> str:
    """Bytes (base64) as the text that they are for other dialects: Claude's encrypted reasoning is text that Converse
    wraps into bytes. What is no text keeps its base64 behind a prefix, and comes back."""
    try:
        return base64.b64decode(blob, validate=True).decode()
    except (binascii.Error, ValueError):
        return _BLOB_PREFIX + blob


def blob_of_text(text: str) -> str:
    """The bytes (base64) of which `text_of_blob` made this text."""
    if text.startswith(_BLOB_PREFIX):
        return text[len(_BLOB_PREFIX) :]
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def text_blob(text: str) -> str:
    """Plain text as the bytes (base64) of a document."""
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def join_blobs(blobs: list[str]) -> str:
    """Base64 that came in pieces, each a blob of its own."""
    if len(blobs) == 1:
        return blobs[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(blob, validate=True) for blob in blobs)).decode()
    except (binascii.Error, ValueError):
        return "".join(blobs)
