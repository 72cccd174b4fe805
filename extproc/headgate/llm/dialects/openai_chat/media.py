"""Sounds and pictures that a model made, in chat completions.

OpenAI answers with `audio`; pictures have no place in its chat, and compatible servers (OpenRouter, LiteLLM) answer
with `images`, which we write as well.
"""

from collections.abc import Iterator
from typing import Any, Final

from headgate.llm.canonical import Base64Source, ImagePart, MediaPart, UrlSource
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.data_uris import source_of
from headgate.llm.dialects.speech import PCM, PCM_TYPE
from headgate.llm.errors import RequestError

AUDIO_SECONDS: Final = 3_600
"""How long an `audio` may be named in later turns, as its `expires_at` says. Ours cannot: its data has to be sent."""

DEFAULT_FORMAT: Final = "wav"

Members = dict[str, Any]


def images_of(images: list[wire.AnswerImage]) -> Iterator[ImagePart]:
    """Pictures of an answer."""
    for image in images:
        if image.image_url is None:
            continue
        try:
            source = source_of(image.image_url.url, "")
        except RequestError:
            continue  # no URL at all
        if isinstance(source, Base64Source | UrlSource):
            yield ImagePart(source)


def audio_of(data: str, audio_format: str) -> MediaPart:
    """The sound of an answer, in the format that was asked for."""
    word = audio_format or DEFAULT_FORMAT
    return MediaPart("audio", Base64Source(PCM_TYPE if word == PCM else f"audio/{word}", data), word)


def written_image(part: ImagePart, index: int) -> Members | None:
    """A picture as an entry of `images`."""
    match part.source:
        case Base64Source(media_type=media_type, data=data):
            url = f"data:{media_type or 'image/png'};base64,{data}"
        case UrlSource(url=url):
            pass
        case _:
            return None
    return {"index": index, "type": "image_url", "image_url": {"url": url}}


def written_audio(part: MediaPart, audio_id: str, created: int) -> Members | None:
    """A sound as the member `audio`; what is heard is in the text, if anywhere."""
    if part.kind != "audio" or not isinstance(part.source, Base64Source):
        return None
    return {"id": audio_id, "data": part.source.data, "expires_at": created + AUDIO_SECONDS, "transcript": ""}
