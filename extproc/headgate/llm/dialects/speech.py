"""Answers that sound, between the two dialects that ask for them: OpenAI's chat (`modalities`, `audio`) and Gemini
(`responseModalities`, `speechConfig`).

Gemini speaks raw samples and nothing else: 16 bits, little endian, one channel, 24,000 a second, which OpenAI calls
`pcm16`, the only format that it streams. So streams pass as they are; of a whole answer samples become a WAV file, for
clients that asked for anything but samples. Other formats would need an encoder.
"""

import binascii
import re
import struct
from typing import Final

import msgspec
from headgate.llm.canonical import Base64Source, MediaPart
from headgate.llm.losses import Loss

PCM: Final = "pcm16"
WAV: Final = "wav"
PCM_TYPE: Final = "audio/L16;codec=pcm;rate=24000"
"""As Gemini says it."""

AUDIO: Final = "audio"

OPENAI_VOICES: Final = frozenset(
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"]
)
"""Models of one provider know none of the other's voices, and refuse what they do not know."""
OPENAI_VOICE_DEFAULT: Final = "alloy"

_RATE: Final = re.compile(r";\s*rate=(\d{4,6})\b")
_RATE_DEFAULT: Final = 24_000
_SAMPLES: Final = re.compile(r"^audio/(l16|pcm)\b", re.IGNORECASE)


class _PrebuiltVoice(msgspec.Struct, frozen=True, rename="camel"):
    voice_name: str | None = None


class _VoiceConfig(msgspec.Struct, frozen=True, rename="camel"):
    prebuilt_voice_config: _PrebuiltVoice | None = None


class _SpeechConfig(msgspec.Struct, frozen=True, rename="camel"):
    voice_config: _VoiceConfig | None = None


def is_samples(media_type: str) -> bool:
    """Whether a sound is raw samples."""
    return _SAMPLES.match(media_type) is not None


def heard(part: MediaPart, wanted: str) -> MediaPart:
    """The sound that a Gemini model made, in the format that was asked for; without one as it came."""
    source = part.source
    if not isinstance(source, Base64Source) or not is_samples(source.media_type):
        return part
    if wanted == WAV:
        rate = _RATE.search(source.media_type)
        try:
            samples = binascii.a2b_base64(source.data, strict_mode=True)
        except ValueError:
            return part  # the client sees for itself that it is no sound
        data = wav_of(samples, int(rate[1]) if rate is not None else _RATE_DEFAULT)
        return MediaPart(part.kind, Base64Source("audio/wav", binascii.b2a_base64(data, newline=False).decode()), WAV)
    return MediaPart(part.kind, source, PCM)


def wav_of(samples: bytes, rate: int) -> bytes:
    """A WAV file of 16-bit samples of one channel."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", len(samples),
    )  # fmt: skip
    return head + samples


def answer_format(wanted: str, *, stream: bool, losses: list[Loss]) -> str:
    """The format that a chat client gets of a Gemini model's voice, and a loss where it wanted another."""
    given = PCM if stream or wanted == PCM else WAV
    if wanted and wanted != given:
        losses.append(Loss("audio.format", "changed", f"this provider's voice is given as {given}"))
    return given


def gemini_voice(voice: str, losses: list[Loss]) -> object | None:
    """The member `speechConfig` for a chat client's voice; None where the model's own voice must do."""
    if not voice:
        return None
    if voice.lower() in OPENAI_VOICES:
        losses.append(Loss("audio.voice", "changed", "this provider has no such voice, and uses its own"))
        return None
    return {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}


def openai_voice(speech_config: msgspec.Raw | None, losses: list[Loss]) -> str:
    """The voice for a Gemini client's `speechConfig`: its own where OpenAI has it, else the default."""
    if speech_config is None:
        return OPENAI_VOICE_DEFAULT
    try:
        config = msgspec.json.decode(speech_config, type=_SpeechConfig)
    except msgspec.ValidationError:
        config = _SpeechConfig()
    chosen = config.voice_config.prebuilt_voice_config if config.voice_config is not None else None
    voice = ((chosen.voice_name if chosen is not None else None) or "").lower()
    if voice in OPENAI_VOICES:
        return voice
    losses.append(Loss("generationConfig.speechConfig", "changed", f"this provider's voice is {OPENAI_VOICE_DEFAULT}"))
    return OPENAI_VOICE_DEFAULT
