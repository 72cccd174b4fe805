"""`headgate usage`: what was used, by whom, and what it cost, from the ledger's database."""

import argparse
import os
import re
import sys
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headgate.cli import usage_output
from headgate.collector.settings import LEDGER_VARIABLE
from headgate.collector.store.asking import ask
from headgate.collector.store.database import StoreError, default_url, open_engine, url_of
from headgate.collector.store.question import GROUPS, TIMES, Question

_UNITS: Final = {"h": 3600, "d": 86_400, "w": 604_800}


class _UsageError(Exception):
    """What is wrong with the arguments, in one line for the user."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--by", default="model", metavar="GROUP,…", help=f"of {', '.join((*GROUPS, *TIMES))} (default %(default)s)")
    add("--since", metavar="TIME", help="7d, 24h, 2026-11-01 or 2026-11-01T12:00; whole hours count")
    add("--until", metavar="TIME", help="likewise")
    add("--timezone", default="UTC", metavar="ZONE", help="whose days, hours and times: Europe/Berlin (default UTC)")
    add("--where", action="append", default=[], metavar="GROUP=VALUE", help="only these (model=gpt-4o)")
    add("--limit", type=int, metavar="N", help="only the first rows")
    add("--output", choices=("table", "json", "csv"), default="table")
    add("--plot", nargs="?", const="tokens", choices=tuple(usage_output.PLOTTED), help="draw it (default: tokens)")
    add("--ledger", metavar="DATABASE", help="a path or URL (default: HEADGATE_LEDGER, else that of `headgate run`)")


def run(options: argparse.Namespace) -> int:
    try:
        question = _question(options, time.time())
        engine = open_engine(_database(options.ledger))
        try:
            answers = ask(engine, question)
        except StoreError as error:
            raise StoreError(f"{engine.url}: {error}") from None
        finally:
            engine.dispose()
    except (StoreError, _UsageError) as error:
        print(f"headgate usage: {error}", file=sys.stderr)
        return 2 if isinstance(error, _UsageError) else 1
    shown = answers[: options.limit]
    if options.plot is not None:
        print(usage_output.plot(question.by, shown, options.plot, width=_width()))
    else:
        print(usage_output.FORMATS[options.output](question.by, shown), end="")
    return 0


def _width() -> int:
    try:
        return min(os.get_terminal_size().columns, 160)
    except OSError:
        return 100


def _database(given: str | None) -> str:
    url = given or os.environ.get(LEDGER_VARIABLE) or default_url()
    path = url_of(url).removeprefix("sqlite:///")
    if url_of(url).startswith("sqlite:///") and not Path(path).exists():
        raise StoreError(f"there is no ledger at {path}: `headgate run --ledger` keeps one")
    return url


def _question(options: argparse.Namespace, now: float) -> Question:
    by = tuple(name for name in str(options.by).split(",") if name)
    for name in by:
        if name not in GROUPS and name not in TIMES:
            raise _UsageError(f"--by {name}: there are {', '.join((*GROUPS, *TIMES))}")
    where: list[tuple[str, str]] = []
    for each in options.where:
        name, sign, value = str(each).partition("=")
        if name not in GROUPS or not sign:
            raise _UsageError(f"--where {each}: write GROUP=VALUE, with one of {', '.join(GROUPS)}")
        where.append((name, value))
    if options.limit is not None and options.limit < 1:
        raise _UsageError(f"--limit {options.limit}: there is at least 1 row")
    if options.plot is not None and options.output != "table":
        raise _UsageError(f"--plot draws, --output {options.output} does not: leave one of them out")
    zone = _zone(options.timezone)
    since, until = _moment(options.since, now, zone), _moment(options.until, now, zone)
    if since is not None and until is not None and since >= until:
        raise _UsageError(f"--since {options.since} is not before --until {options.until}")
    return Question(by=by, since=since, until=until, where=tuple(where), zone=zone)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _UsageError(f"--timezone {name}: there is no such zone; write one like Europe/Berlin") from None


def _moment(text: str | None, now: float, zone: tzinfo) -> float | None:
    if text is None:
        return None
    if ago := re.fullmatch(r"-?(\d+)([hdw])", text):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _UsageError(f"{text!r} is no time: write 7d, 24h, 2026-11-01 or 2026-11-01T12:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
