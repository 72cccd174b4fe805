"""Console script `headgate`: finds the command and runs it.

A command is a row of `COMMANDS` and a module with `add_arguments(parser)` and `run(options) -> int` (the exit code).
Only the module of the command that was asked for is imported, so that `headgate run` starts fast.
"""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Final, NoReturn, Protocol, cast


@dataclass(frozen=True, slots=True)
class Command:
    """One row."""

    name: str
    help: str
    module: str


class CommandModule(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Does the work and returns the exit code."""
        ...


COMMANDS: Final = (
    Command("run", "start the whole gateway on this machine", "headgate.cli.run"),
    Command("check", "say what is wrong with a configuration, where, and what would be right", "headgate.cli.check"),
    Command("compile", "print the xDS that Envoy would be given", "headgate.cli.compile"),
    Command(
        "explain",
        "say which lane, filters and limits each route takes, or what one request would meet",
        "headgate.cli.explain",
    ),
    Command("status", "say which objects are in force, which are not, and why", "headgate.cli.status"),
    Command("diff", "say what applying files would change, before it is applied", "headgate.cli.diff"),
    Command("usage", "say what was used, by whom, and what it cost, from the ledger", "headgate.cli.usage"),
    Command("translate", "show what a provider would receive for a client's request", "headgate.cli.translate"),
)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; what there is stands in `--help`."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')} (`{self.prog} --help` shows what there is)\n")


PIPE_CLOSED: Final = 141
"""As shells say it of a program that SIGPIPE ended."""
INTERRUPTED: Final = 130
"""As they say it of one that Ctrl-C ended. `headgate run` ends with 0 from when it has begun to start anything."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: the command's, 2 for wrong arguments, or as shells say why it ended."""
    _open_what_is_closed()
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((argument for argument in given if not argument.startswith("-")), None)
    parser = _Parser(prog="headgate", description="An AI gateway on Envoy.")
    parser.add_argument("--version", action="version", version=f"headgate {version('headgate')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.help, description=command.help)
        if command.name == wanted:
            module = cast("CommandModule", import_module(command.module))
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    if not given:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(_joined(given))
    code = 0
    try:
        code = options.run(options)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO, errno.ENOSPC):
            raise
        # Who read our output (`| head`, a terminal) has read enough, or there is no room for it. Python flushes once
        # more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.ENOSPC:
            print(f"headgate: cannot write: {error.strerror}", file=sys.stderr)
            return 1
        return PIPE_CLOSED
    return code


def _joined(given: Sequence[str]) -> list[str]:
    """Values that begin with a minus and a digit (`--since -5d`) joined to their options: argparse would take them for
    options, of which none begins with a digit.
    """
    joined: list[str] = []
    for argument in given:
        if re.match(r"-\d", argument) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _open_what_is_closed() -> None:
    """Gives each standard stream that we were started without (`2>&-`) to /dev/null.

    The next file that is opened would get its number, and what is printed with it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


if __name__ == "__main__":
    sys.exit(main())
