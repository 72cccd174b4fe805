"""A gateway with a backend of every dialect, all of them one provider that takes and answers whatever a test says."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from headgate.llm.names import DialectName

from support import manifests
from support.manifests import AI, backend, document, ref, route, rule, secret, target
from support.providers import Provider
from support.providers.operations_api import OperationsApi
from support.stage import Stage

SCHEMAS: Final[Mapping[DialectName, str]] = {
    DialectName.OPENAI_CHAT: "OpenAI",
    DialectName.OPENAI_RESPONSES: "OpenAI",
    DialectName.ANTHROPIC_MESSAGES: "Anthropic",
    DialectName.GEMINI: "Gemini",
    DialectName.BEDROCK_CONVERSE: "AWSBedrock",
    DialectName.COHERE: "Cohere",
}
"""Of each dialect, whose name is its model's as well."""
AWS_FILE: Final = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"


class _Anything(OperationsApi):
    """A provider that takes whatever comes."""

    def problems(self, received: Any, key: str, allow_unknown: bool) -> list[str]:
        del received, key, allow_unknown
        return []


@contextmanager
def every_dialect(**of_route: Any) -> Generator[Stage]:
    """The running gateway; its provider is `any`."""
    with Stage(any=Provider(_Anything({}))) as stage:
        found = [*manifests.gateway({"port": stage.port}), secret("aws", credentials=AWS_FILE)]
        for dialect, schema in SCHEMAS.items():
            found += backend(dialect.value, stage["any"].port, schema, key="" if schema == "AWSBedrock" else "sk")
        credentials = {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}}
        signing = {
            **target("AIServiceBackend", "bedrock-converse"),
            "type": "AWSCredentials",
            "awsCredentials": credentials,
        }
        found.append(document(f"{AI}/v1beta1", "BackendSecurityPolicy", "bedrock-converse", signing))
        declared = {**target("AIServiceBackend", "openai-responses"), "backend": {"dialect": "OpenAIResponses"}}
        found.append(document("headgate.dev/v1alpha1", "TranslationPolicy", "openai-responses", declared))
        rules = [rule(dialect.value, ref(dialect.value)) for dialect in SCHEMAS]
        yield stage.run([*found, route("models", rules, **of_route)])
