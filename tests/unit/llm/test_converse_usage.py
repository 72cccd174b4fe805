"""What Converse tells of a cache by how long it keeps it, which has prices of its own."""

import msgspec
import pytest
from headgate.contract import metadata
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.bedrock_converse.response import usage_of, written_usage
from headgate.llm.usage import Usage

COUNTED = b'{"inputTokens":3,"outputTokens":4,"totalTokens":67,"cacheWriteInputTokens":60%b}'
DETAILS = b',"cacheDetails":[{"ttl":"1h","inputTokens":50},{"ttl":"5m","inputTokens":10}]'
LONG = ((metadata.CACHE_CREATION_1H_INPUT_TOKENS, 50),)


def test_what_is_kept_for_an_hour_is_counted_apart_and_told_as_it_came() -> None:
    read = usage_of(msgspec.json.decode(COUNTED % DETAILS, type=wire.Usage))
    assert read == Usage(input=63, cache_creation_input=60, output=4, total=67, apart=LONG)
    assert msgspec.json.encode(written_usage(read)) == COUNTED % DETAILS


@pytest.mark.parametrize(
    "details", [b"", b',"cacheDetails":[]', b',"cacheDetails":[{"ttl":"5m","inputTokens":60},{"ttl":"2h"},{}]']
)
def test_what_is_kept_for_minutes_is_nothing_apart(details: bytes) -> None:
    read = usage_of(msgspec.json.decode(COUNTED % details, type=wire.Usage))
    assert read == Usage(input=63, cache_creation_input=60, output=4, total=67)
    assert msgspec.json.encode(written_usage(read)) == COUNTED % b""


def test_where_all_is_kept_for_an_hour_nothing_is_said_of_minutes() -> None:
    written = written_usage(Usage(input=50, cache_creation_input=50, output=1, apart=LONG))
    assert written.cache_details == (wire.CacheDetail("1h", 50),)
