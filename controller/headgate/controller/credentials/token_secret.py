"""What an exchange leaves behind: changes to the Secret that its exchange names. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.compiler.exchanges import ERROR, EXPIRATION, MADE_FROM, Exchange
from headgate.compiler.resources import core
from headgate.compiler.resources.metadata import Name, ObjectMeta
from headgate.contract.secret import Secret
from headgate.controller.credentials.exchange import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSecret:
    """A change to a Secret. Deliverers merge it into what is there, or make the Secret."""

    exchange: Exchange
    values: Mapping[str, Secret] | None
    """All values from now on; None leaves them as they are."""
    annotations: Mapping[str, str | None]
    """Annotations to set; None removes one."""

    @property
    def name(self) -> Name:
        return self.exchange.secret


def fetched(exchange: Exchange, token: Token, expires: float) -> TokenSecret:
    """A new token, which is believed to end at `expires`."""
    end = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    notes: dict[str, str | None] = {EXPIRATION: end, MADE_FROM: exchange.fingerprint, ERROR: None}
    return TokenSecret(exchange=exchange, values=token.values, annotations=notes)


def not_fetched(exchange: Exchange, error: str, *, ended: bool) -> TokenSecret:
    """No token; `ended` takes the old one away, so that its backend is known not to be usable."""
    notes: dict[str, str | None] = {ERROR: error}
    if ended:
        notes |= {EXPIRATION: None, MADE_FROM: None}
    return TokenSecret(exchange=exchange, values={} if ended else None, annotations=notes)


def merged(known: core.Secret | None, change: TokenSecret) -> core.Secret:
    """The Secret after a change."""
    values: Mapping[str, Secret] = known.string_data if known is not None else {}
    if change.values is not None:
        values = change.values
    notes: dict[str, str | None] = dict(known.metadata.annotations) if known is not None else {}
    notes |= change.annotations
    kept = {name: value for name, value in notes.items() if value is not None}
    head = ObjectMeta(name=change.name.name, namespace=change.name.namespace, annotations=kept)
    return core.Secret(api_version="v1", kind="Secret", metadata=head, string_data=dict(values))


def seconds_of(text: str) -> float | None:
    """An expiration annotation as seconds since 1970; None where it is not readable."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
    except ValueError:
        return None
