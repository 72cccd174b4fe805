"""Which module serves which source."""

from typing import assert_never

from headgate.compiler.exchanges import (
    AwsWebIdentity,
    AzureAssertion,
    AzureSecret,
    Exchange,
    GcpDefault,
    GcpFederation,
    GcpServiceAccount,
)
from headgate.controller.credentials import aws, azure, gcp
from headgate.controller.credentials.exchange import Moment, Steps, Token


def steps(wanted: Exchange, moment: Moment) -> Steps[Token]:
    """The exchange as a conversation."""
    match wanted.source:
        case AwsWebIdentity():
            return aws.exchange(wanted.source, wanted.policy.name, moment)
        case AzureSecret() | AzureAssertion():
            return azure.exchange(wanted.source, moment)
        case GcpServiceAccount() | GcpFederation() | GcpDefault():
            return gcp.exchange(wanted.source, moment)
        case _:
            assert_never(wanted.source)
