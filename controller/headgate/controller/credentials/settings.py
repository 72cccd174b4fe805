"""Options about exchanges, and what the environment says of them. Imported early: it must import little."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ENDPOINTS: Final[Mapping[str, str]] = {
    "aws-sts": "AWS's STS; {region} is the policy's",
    "azure": "Entra ID",
    "gcp-token": "Google's OAuth 2.0 token endpoint",
    "gcp-sts": "Google Cloud's STS",
    "gcp-iam": "Google Cloud's IAM credentials",
    "gcp-metadata": "Google Cloud's metadata server",
}
"""Names that `--credential-endpoint` takes."""
PROXIES: Final[Mapping[str, str]] = {
    "aws": "AI_GATEWAY_STS_PROXY_URL",
    "azure": "AI_GATEWAY_AZURE_PROXY_URL",
    "gcp": "AI_GATEWAY_GCP_AUTH_PROXY_URL",
}
"""compat: variables of the environment with a proxy's URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSettings:
    """Where providers are, how they are reached, and where Google Cloud's default credentials would be."""

    endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    """By name of `ENDPOINTS`; those that are absent are the providers' own."""
    proxies: Mapping[str, str] = field(default_factory=dict[str, str])
    default_credentials: tuple[Path, ...] = ()
    """The first that exists is read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `--credential-endpoint`."""
    parser.add_argument(
        "--credential-endpoint",
        action="append",
        default=[],
        type=_endpoint,
        metavar="NAME=URL",
        help="another cloud's address; NAME is one of " + ", ".join(ENDPOINTS),
    )


def settings(endpoints: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> CredentialSettings:
    """The options' values with what the environment adds."""
    proxies = {name: environment[variable] for name, variable in PROXIES.items() if environment.get(variable)}
    return CredentialSettings(endpoints=dict(endpoints), proxies=proxies, default_credentials=_files(environment))


def _files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    if named := environment.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return (Path(named),)
    name = "application_default_credentials.json"
    if folder := environment.get("CLOUDSDK_CONFIG"):
        return (Path(folder, name),)
    home = environment.get("HOME")
    return (Path(home, ".config", "gcloud", name),) if home else ()


def _endpoint(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if name not in ENDPOINTS or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=URL with a NAME of {', '.join(ENDPOINTS)}")
    return name, url.rstrip("/")
