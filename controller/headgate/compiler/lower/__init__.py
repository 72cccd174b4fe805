"""From the IR to Envoy's configuration: the only place of the compiler that knows protobuf."""
