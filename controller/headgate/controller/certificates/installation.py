"""Which certificates an installation has, and what they are called."""

import argparse
from datetime import timedelta
from typing import Final

from headgate.controller.certificates.authority import Lifetime, Subject
from headgate.controller.certificates.keeper import CertificateKeeper, Kept
from headgate.controller.cluster import Cluster

ENVOY: Final = "headgate-envoy"
"""What an Envoy on our xDS is called in its certificate."""


def certificate_keeper(cluster: Cluster, options: argparse.Namespace) -> CertificateKeeper:
    """Keeps the certificates of this installation in the controller's namespace."""
    service, namespace, prefix = options.service_name, cluster.namespace, options.certificate_secrets
    names = (
        f"{service}.{namespace}.svc",
        f"{service}.{namespace}.svc.cluster.local",
        f"{service}.{namespace}",
        service,
    )
    controller = Subject(common_name=names[0], names=(*names, *options.certificate_names))
    kept = [Kept(secret=f"{prefix}-controller-tls", subject=controller)]
    if options.xds_tls:
        envoy = Subject(common_name=ENVOY, names=(ENVOY,), client=True)
        kept.append(Kept(secret=f"{prefix}-envoy-tls", subject=envoy))
    return CertificateKeeper(
        cluster.api,
        namespace=namespace,
        authority=f"{prefix}-authority",
        kept=kept,
        lifetime=Lifetime(certificate=timedelta(seconds=options.certificate_lifetime)),
        may_write=lambda: cluster.leading,
    )
