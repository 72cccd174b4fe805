"""What providers take for the operations beyond chat, where their SDKs have no types of the body itself.

Cohere: <https://docs.cohere.com/v2/reference/embed>; its SDK's method has these parameters, and no type for them.
Voyage: <https://docs.voyageai.com/reference/embeddings-api>, `.../reranker-api`. Jina: <https://api.jina.ai/redoc>.
NVIDIA: <https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html>. Text-embeddings-inference:
<https://huggingface.github.io/text-embeddings-inference>.
Google: `google.genai` builds these bodies member by member (`_EmbedContentConfig_to_mldev` and `…_to_vertex`).
"""

from typing import Literal, Required, TypeAlias

from typing_extensions import TypedDict


class _Text(TypedDict):
    type: Literal["text"]
    text: str


class _Url(TypedDict):
    url: str


class _Image(TypedDict):
    type: Literal["image_url"]
    image_url: _Url


class _Mixed(TypedDict):
    content: list[_Text | _Image]


class CohereEmbed(TypedDict, total=False):
    model: Required[str]
    input_type: Required[Literal["search_document", "search_query", "classification", "clustering", "image"]]
    texts: list[str]
    images: list[str]
    inputs: list[_Mixed]
    max_tokens: int
    output_dimension: int
    embedding_types: list[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]]
    truncate: Literal["NONE", "START", "END"]


class VoyageEmbed(TypedDict, total=False):
    model: Required[str]
    input: Required[str | list[str]]
    input_type: Literal["query", "document"] | None
    truncation: bool
    output_dimension: int
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"]
    encoding_format: Literal["base64"] | None


class JinaEmbed(TypedDict, total=False):
    model: Required[str]
    input: Required[str | list[str]]
    task: str
    dimensions: int
    truncate: bool
    late_chunking: bool
    normalized: bool
    return_multivector: bool
    embedding_type: Literal["float", "base64", "binary", "ubinary"]


class NvidiaEmbed(TypedDict, total=False):
    model: Required[str]
    input: Required[str | list[str]]
    input_type: Literal["query", "passage"]
    modality: str | list[str]
    truncate: Literal["NONE", "START", "END"]
    dimensions: int
    encoding_format: Literal["float", "base64"]
    embedding_type: Literal["float", "int8", "uint8", "binary", "ubinary"]
    user: str


class VoyageRerank(TypedDict, total=False):
    model: Required[str]
    query: Required[str]
    documents: Required[list[str]]
    top_k: int
    return_documents: bool
    truncation: bool


class TeiRerank(TypedDict, total=False):
    query: Required[str]
    texts: Required[list[str]]
    truncate: bool
    truncation_direction: Literal["Left", "Right"]
    raw_scores: bool
    return_text: bool


TaskType: TypeAlias = Literal[
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]


class _Blob(TypedDict):
    mimeType: str
    data: str


class _FileData(TypedDict):
    fileUri: str


class _Part(TypedDict, total=False):
    text: str
    inlineData: _Blob
    fileData: _FileData


class _Content(TypedDict, total=False):
    parts: Required[list[_Part]]
    role: str


class _Config(TypedDict, total=False):
    taskType: TaskType
    title: str
    outputDimensionality: int
    autoTruncate: bool


class _EmbedContent(TypedDict, total=False):
    model: str
    content: Required[_Content]
    taskType: TaskType
    title: str
    outputDimensionality: int
    embedContentConfig: _Config


class _Batch(TypedDict):
    requests: list[_EmbedContent]


class _Instance(TypedDict, total=False):
    content: Required[str]
    task_type: TaskType
    title: str


class _Parameters(TypedDict, total=False):
    autoTruncate: bool
    outputDimensionality: int


class _Predict(TypedDict, total=False):
    instances: Required[list[_Instance]]
    parameters: _Parameters


GeminiEmbed: TypeAlias = _EmbedContent | _Batch | _Predict
