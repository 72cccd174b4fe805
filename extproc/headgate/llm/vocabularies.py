"""The vocabularies of OpenAI's models, and which model has which.

They come from the data files of the package `bpe-openai`; nothing is downloaded. One is read when the first prompt
needs it: about half a second and 70 MB, so only processes that are asked to count pay for it. Counting costs about
0.05 ms per KB of text and lets other threads run.
"""

import gzip
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tiktoken import Encoding


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    file: str
    pattern: str
    special_tokens: Mapping[str, int]


_O200K: Final = "o200k_base"
_CL100K: Final = "cl100k_base"

_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_VOCABULARIES: Final = {
    _O200K: _Vocabulary(
        file="o200k_base.tiktoken.gz",
        pattern="|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTIONS,
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTIONS,
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        special_tokens={"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
    ),
    _CL100K: _Vocabulary(
        file="cl100k_base.tiktoken.gz",
        pattern=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
            r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
        special_tokens={
            "<|endoftext|>": 100_257,
            "<|fim_prefix|>": 100_258,
            "<|fim_middle|>": 100_259,
            "<|fim_suffix|>": 100_260,
            "<|endofprompt|>": 100_276,
        },
    ),
}
"""Word patterns and special tokens as tiktoken's `openai_public` defines them."""

_MODELS: Final = (
    ("gpt-4o", _O200K, True),
    ("gpt-4.1", _O200K, True),
    ("gpt-4.5", _O200K, True),
    ("gpt-4", _CL100K, True),
    ("gpt-3.5", _CL100K, True),
    ("gpt-35", _CL100K, True),  # Azure's spelling
    ("text-embedding-", _CL100K, True),
    ("gpt-5", _O200K, True),
    ("gpt-oss", _O200K, True),
    ("chatgpt-4o", _O200K, True),
    ("o1", _O200K, True),
    ("o3", _O200K, True),
    ("o4-mini", _O200K, True),
    ("", _O200K, False),
)
"""Start of a model's name without its vendor prefix, its vocabulary, whether that is the model's own."""

_loaded: Final[dict[str, "Encoding"]] = {}


def encoding_of(model: str) -> tuple["Encoding", bool]:
    """The encoding for a model, and whether it is the model's own. Reads it if nobody has."""
    name, exact = _vocabulary_of(model)
    if name not in _loaded:
        _loaded[name] = _load(name)
    return _loaded[name], exact


def counter_of(model: str) -> Callable[[str], int] | None:
    """What counts a text as the model does; None where no vocabulary here is the model's, or it is not read yet."""
    name, exact = _vocabulary_of(model)
    encoding = _loaded.get(name)
    if encoding is None or not exact:
        return None
    return lambda text: len(encoding.encode_ordinary(text))


def _vocabulary_of(model: str) -> tuple[str, bool]:
    name = model.lower().rpartition("/")[2]
    return next((vocabulary, exact) for start, vocabulary, exact in _MODELS if name.startswith(start))


def _load(name: str) -> "Encoding":
    """Reads a vocabulary from the data files; importing their package would load all of them."""
    from tiktoken import Encoding

    vocabulary = _VOCABULARIES[name]
    package = find_spec("bpe_openai")
    assert package is not None, "bpe-openai is a dependency"
    assert package.origin is not None, "bpe-openai is no namespace"
    ranks: dict[bytes, int] = {}
    with gzip.open(Path(package.origin).parent / "data" / vocabulary.file, "rb") as lines:
        for line in lines:
            token, _, rank = line.partition(b" ")
            ranks[a2b_base64(token)] = int(rank)
    return Encoding(
        name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens=dict(vocabulary.special_tokens)
    )
