"""What ends a server of ours."""

import asyncio
import signal
from collections.abc import Sequence


def stop_event(signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> asyncio.Event:
    """An event that any of `signals` sets on the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    return stop
