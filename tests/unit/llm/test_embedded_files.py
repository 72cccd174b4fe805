"""Files to embed, under the media types that clients give them, in the formats that Bedrock's Nova knows."""

import json
from typing import Final

import pytest
from support.operation_goldens import ASKED, open_plan

FORMATS: Final = {
    "image": {"png", "jpeg", "gif", "webp"},
    "audio": {"mp3", "wav", "ogg"},
    "video": {"mp4", "mov", "mkv", "webm", "flv", "mpeg", "mpg", "wmv", "3gp"},
}
"""<https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>"""


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("image/png", "png"),
        ("image/jpg", "jpeg"),
        ("audio/mpeg", "mp3"),
        ("audio/x-wav", "wav"),
        ("audio/wave", "wav"),
        ("video/mpeg", "mpeg"),
        ("video/quicktime", "mov"),
        ("video/x-flv", "flv"),
        ("video/x-ms-wmv", "wmv"),
        ("video/3gpp", "3gp"),
    ],
)
def test_a_file_has_novas_name_for_its_format(media_type: str, expected: str) -> None:
    plan = open_plan("embed-content", "embeddings", "bedrock-converse@nova")
    assert plan is not None
    parts = [{"inlineData": {"mimeType": media_type, "data": "AAAA"}}]
    body = json.dumps({"content": {"parts": parts}}).encode()
    request = plan.translate_request(body, {":path": ASKED["embed-content"].path})
    kind = media_type.partition("/")[0]
    written = json.loads(request.body)["singleEmbeddingParams"][kind]["format"]

    assert written == expected
    assert written in FORMATS[kind]
