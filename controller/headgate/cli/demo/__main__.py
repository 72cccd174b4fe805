"""`python -m headgate.cli.demo --address 127.0.0.1:8091` (or unix:PATH): prints where it listens; ends by a signal."""

import argparse
import asyncio
import signal
import sys

from aiohttp import web
from headgate.cli.demo.server import PAUSE_SECONDS, DemoServer
from headgate.contract.addresses import host_port


def _address(text: str) -> str:
    _, colon, port = text.rpartition(":")
    if not text.startswith("unix:") and (not colon or not port.isdecimal() or int(port) > 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is neither HOST:PORT nor unix:PATH")
    return text


def _site(runner: web.AppRunner, address: str) -> web.BaseSite:
    if address.startswith("unix:"):
        return web.UnixSite(runner, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return web.TCPSite(runner, host.strip("[]") or "127.0.0.1", int(port))


async def _serve(address: str, pause_seconds: float) -> None:
    runner = web.AppRunner(DemoServer(pause_seconds=pause_seconds).application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await _site(runner, address).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound: str | tuple[str, int] = runner.addresses[0]
    print(f"demo provider on {address if isinstance(bound, str) else f'http://{host_port(*bound[:2])}'}", flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 with one line on stderr where the address cannot be bound."""
    parser = argparse.ArgumentParser(prog="python -m headgate.cli.demo", description="An LLM API without a model.")
    parser.add_argument(
        "--address", type=_address, default="127.0.0.1:0", metavar="HOST:PORT", help="default: any free port"
    )
    parser.add_argument("--pause-seconds", type=float, default=PAUSE_SECONDS, help="between two words of a stream")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(options.address, options.pause_seconds))
    except OSError as error:
        print(f"demo provider: cannot listen on {options.address}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
