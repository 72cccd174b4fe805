"""Bedrock's runtime paths, for routes that pass the dialect through: the signature is checked, the body only for JSON.

Signature version 4: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from support.providers import checking
from support.providers.answers import Answer, Failure
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import JSON, compact

PATH = re.compile(r"/model/[^/]+/(converse|invoke)")
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access>[^/]+)/(?P<scope>[^,]+), ?SignedHeaders=(?P<signed>[^,]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class BedrockApi:
    """`Provider(BEDROCK, key="<access key id>:<secret access key>")`."""

    credential_header: str = "authorization"

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, None)
        if received.method != "POST" or not PATH.fullmatch(received.path):
            found.append(f"no such path: {received.method} {received.path}")
        found += signature_problems(received, *key.split(":", 1))
        try:
            _ = received.json
        except ValueError as error:
            found.append(f"not JSON: {error}")
        return found

    def render(self, answer: Answer, received: Received) -> Rendered:
        usage = answer.usage
        body = {
            "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": usage.input,
                "outputTokens": usage.output,
                "totalTokens": usage.input + usage.output,
            },
            "metrics": {"latencyMs": 5},
        }
        return Rendered(JSON, (compact(body).encode(),))

    def render_failure(self, failure: Failure) -> Rendered:
        return Rendered(JSON, (compact({"message": failure.message}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        return {"x-amzn-requestid": f"req-bedrock-{number}"}


def signature_problems(received: Received, access_key: str, secret_key: str) -> list[str]:
    """Why AWS would not accept the request's signature."""
    matched = AUTHORIZATION.fullmatch(received.header("authorization") or "")
    date = received.header("x-amz-date")
    if not matched or not date:
        return ["no AWS signature"]
    if matched["access"] != access_key:
        return [f"signed with access key {matched['access']}"]
    content_hash = received.header("x-amz-content-sha256") or hashlib.sha256(received.body).hexdigest()
    if content_hash not in (hashlib.sha256(received.body).hexdigest(), "UNSIGNED-PAYLOAD"):
        return ["x-amz-content-sha256 is not the body's"]
    signed = matched["signed"].split(";")
    if missing := {"host", "x-amz-date"} - set(signed):
        return [f"{sorted(missing)} not signed"]
    values = {name: " ".join((received.header(name) or "").split()) for name in signed}
    canonical = "\n".join(
        (
            received.method,
            # AWS (except S3) encodes the path as it came, so what the client had encoded is encoded twice: botocore's
            # SigV4Auth._normalize_url_path.
            quote(received.path, safe="/-_.~"),
            "&".join(sorted(received.query.split("&"))),
            *(f"{name}:{values[name]}" for name in signed),
            "",
            matched["signed"],
            content_hash,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", date, matched["scope"], digest))
    key = f"AWS4{secret_key}".encode()
    for part in matched["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.new(key, text.encode(), "sha256").hexdigest()
    return [] if hmac.compare_digest(expected, matched["signature"]) else ["the AWS signature does not match"]


BEDROCK = BedrockApi()
