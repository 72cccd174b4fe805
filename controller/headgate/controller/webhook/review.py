"""AdmissionReview (admission.k8s.io/v1): from the question about a pod to the answer, bytes to bytes."""

import base64
from collections.abc import Callable, Mapping, Sequence

import msgspec
from headgate.compiler.envoy_gateway.sidecar import Pod

Decide = Callable[[Pod], Sequence[Mapping[str, object]]]
"""A pod that is about to be created → operations of a JSON patch."""


class _Request(msgspec.Struct, rename="camel"):
    uid: str
    namespace: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class _Review(msgspec.Struct, rename="camel"):
    api_version: str
    request: _Request


class ReviewError(Exception):
    """It is no question about a pod."""


def answer(body: bytes, decide: Decide) -> bytes:
    """The answer: always allowed, with a patch where `decide` has one. Raises ReviewError."""
    try:
        review = msgspec.json.decode(body, type=_Review)
        pod = msgspec.json.decode(review.request.object, type=Pod)
    except msgspec.MsgspecError as error:
        raise ReviewError(str(error)) from error
    response: dict[str, object] = {"uid": review.request.uid, "allowed": True}
    if patch := decide(pod):
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(patch)).decode()
    return msgspec.json.encode({"apiVersion": review.api_version, "kind": "AdmissionReview", "response": response})
