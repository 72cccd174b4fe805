"""The hosts, a row each."""

from types import MappingProxyType
from typing import Final

from headgate.llm.hosts import azure, bedrock, direct, vertex
from headgate.llm.hosts.host import Host
from headgate.llm.names import DialectName, HostName

_OPENAI: Final = frozenset(
    (
        DialectName.OPENAI_CHAT,
        DialectName.OPENAI_COMPLETIONS,
        DialectName.OPENAI_EMBEDDINGS,
        DialectName.OPENAI_RESPONSES,
        DialectName.OPENAI_IMAGES,
        DialectName.OPENAI_AUDIO,
        DialectName.OPENAI_MODERATIONS,
    )
)

HOSTS: Final = MappingProxyType(
    {
        host.name: host
        for host in (
            Host(HostName.DIRECT, frozenset(DialectName), direct.place),
            Host(HostName.AZURE, _OPENAI, azure.place),
            Host(
                HostName.VERTEX,
                frozenset((DialectName.GEMINI, DialectName.ANTHROPIC_MESSAGES)),
                vertex.place,
                vertex.envelope,
            ),
            bedrock.HOST,
        )
    }
)
