"""The server that Envoy Gateway asks before it publishes: `envoygateway.extension.EnvoyGatewayExtension`."""
