"""What tests start and look at: Envoy, Redis, the gateway, fake providers, processes and ports."""
