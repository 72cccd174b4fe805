"""TLS of the xDS port: an Envoy must show a certificate of ours, since keys of providers travel there."""

import grpc
from headgate.controller.certificates.authority import CA, CERTIFICATE, KEY, Data


class XdsCredentials:
    """Credentials for a gRPC server that follow `use`; gRPC asks at every handshake, from a thread of its own."""

    def __init__(self, data: Data) -> None:
        self._configuration = _configuration(data)

    def use(self, data: Data) -> None:
        """Shows this certificate, and trusts these authorities, from the next connection on."""
        self._configuration = _configuration(data)

    def credentials(self) -> grpc.ServerCredentials:
        """For `listen`."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, lambda: self._configuration, require_client_authentication=True
        )


def _configuration(data: Data) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(data[KEY], data[CERTIFICATE])], data[CA])
