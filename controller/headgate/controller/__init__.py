"""The controller's shell: watches sources, compiles the world, publishes snapshots to Envoy, reports."""
