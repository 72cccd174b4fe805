"""`python -m headgate.cli.demo --address 127.0.0.1:8091`: prints where it listens; ends on SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys

from aiohttp import web
from headgate.cli.demo.server import PAUSE_SECONDS, DemoServer


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _serve(host: str, port: int, pause_seconds: float) -> None:
    runner = web.AppRunner(DemoServer(pause_seconds=pause_seconds).application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound: tuple[str, int] = runner.addresses[0][:2]
    print(f"demo provider on http://{bound[0]}:{bound[1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 with one line on stderr where the address cannot be bound."""
    parser = argparse.ArgumentParser(prog="python -m headgate.cli.demo", description="An LLM API without a model.")
    parser.add_argument(
        "--address", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT", help="default: any free port"
    )
    parser.add_argument("--pause-seconds", type=float, default=PAUSE_SECONDS, help="between two words of a stream")
    options = parser.parse_args(arguments)
    host, port = options.address
    try:
        asyncio.run(_serve(host, port, options.pause_seconds))
    except OSError as error:
        print(f"demo provider: cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
