"""`headgate translate --from DIALECT --to DIALECT FILE`: what a provider would receive, and what is lost on the way."""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import quote

from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import ENDPOINTS, MODEL_PLACEHOLDER
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.planning import is_chat, plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    clients = sorted(map(str, DIALECTS))
    providers = sorted(str(name) for name, dialect in DIALECTS.items() if dialect.backend)
    add("--from", dest="source", required=True, choices=clients, metavar="DIALECT", help=f"one of {', '.join(clients)}")
    add("--to", dest="target", required=True, choices=providers, metavar="DIALECT", help="one of these as well")
    add("--model", default="", help="the model to ask the provider for instead of the client's")
    add("file", type=Path, metavar="FILE", help="the client's request body; - reads standard input")


def run(options: argparse.Namespace) -> int:
    """Prints path, headers, body and losses as JSON; 1 where the request cannot be translated."""
    endpoint = next(each for each in ENDPOINTS if each.dialect == DialectName(options.source) and is_chat(each))
    path = endpoint.full_path.replace(MODEL_PLACEHOLDER, quote(options.model or "model", safe=""))
    facts = BackendFacts(name="translate", dialect=options.target, model=options.model)
    try:
        body = sys.stdin.buffer.read() if str(options.file) == "-" else options.file.read_bytes()
    except OSError as error:
        print(f"headgate translate: {options.file}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        request = plan(endpoint, facts).translate_request(body, {":path": path})
        sent = json.loads(request.body)
    except RequestError as error:
        print(f"headgate translate: {error.detail().message}", file=sys.stderr)
        return 1
    except RecursionError:
        print(f"headgate translate: {options.file}: nested too deep to be printed", file=sys.stderr)
        return 1
    printed = {
        "path": request.path,
        "headers": dict(request.headers),
        "body": sent,
        "losses": [{"path": loss.path, "action": loss.action, "reason": loss.reason} for loss in request.losses],
    }
    print(json.dumps(printed, indent=2, ensure_ascii=False))
    return 0
