"""What bounds an Envoy."""

import pytest
from headgate.runtime.overload import CONNECTIONS_MAX, connections_max


@pytest.mark.parametrize(
    ("files", "connections"),
    [(64, 1), (256, 64), (1024, 448), (20_000, 9936), (1 << 20, CONNECTIONS_MAX), (-1, CONNECTIONS_MAX)],
)
def test_clients_leave_files_for_providers_and_for_envoy_itself(files: int, connections: int) -> None:
    assert connections_max(files) == connections
