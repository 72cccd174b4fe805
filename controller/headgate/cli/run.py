"""`headgate run [PATH…]`: the whole gateway on one machine.

Exit codes: 0 stopped by a signal, 1 could not start (one line on standard error says why), 2 wrong arguments.
"""

import argparse
import asyncio
import os

from headgate.cli.console import Console, append_to_files
from headgate.cli.gateway import Gateway
from headgate.cli.run_options import RunOptions, add_arguments, parse_options, with_variables
from headgate.cli.start_error import StartError
from headgate.runtime.garbage import collect_rarely
from headgate.runtime.logging import set_up_logging

__all__ = ["add_arguments", "run"]


def run(options: argparse.Namespace) -> int:
    """The exit code of a whole life."""
    collect_rarely()
    append_to_files()
    chosen = with_variables(parse_options(options), os.environ)
    set_up_logging(chosen.log_level, chosen.log_format)
    try:
        return asyncio.run(_live(chosen))
    except StartError as error:
        Console(chosen.log_format).failed(error)
        return 1


async def _live(options: RunOptions) -> int:
    return await Gateway(options, environment=os.environ).run()
