"""PATH or a cluster: where the commands that only look take a configuration from."""

import argparse
from pathlib import Path

from headgate.cli.cluster import ClusterError, add_cluster, names_cluster, read_cluster
from headgate.cli.offline import Configuration, Looked, compiled, load_files


class SourceError(Exception):
    """Why there is nothing to look at, in one line for the user."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """PATH arguments and the options that name a cluster."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a YAML or JSON file, or a folder of them")
    add_cluster(parser)


def look_at(options: argparse.Namespace) -> Looked:
    """What the command line names, compiled. Raises SourceError."""
    return compiled(configuration_of(options))


def configuration_of(options: argparse.Namespace) -> Configuration:
    """What the command line names. Raises SourceError."""
    if names_cluster(options) and options.paths:
        raise SourceError("PATH and a cluster at once: name one of them")
    if options.paths:
        return load_files(options.paths)
    if not names_cluster(options):
        raise SourceError("nothing to look at: name a PATH, or a cluster by --kubeconfig or --context")
    return cluster_of(options)


def cluster_of(options: argparse.Namespace) -> Configuration:
    """The cluster that the command line names. Raises SourceError."""
    try:
        return read_cluster(options).configuration
    except ClusterError as error:
        raise SourceError(str(error)) from None
