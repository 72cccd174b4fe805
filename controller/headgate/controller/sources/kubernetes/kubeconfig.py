"""Kubeconfig files, read by the Kubernetes client library; what it complains of becomes one line for the user.

The library tells of a plugin that gave no credential in its log only, and goes on without one; and it may quote a whole
entry of a file, its token included. So what is commonly wrong is looked for before, and its own words are cut.
"""

import asyncio
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec
import yaml

REFRESH_SECONDS: Final = 60.0
_LIBRARY_LOG: Final = "kubernetes.aio.config"


class AccessError(Exception):
    """There is no usable configuration of where the API server is and who we are."""


class _Exec(msgspec.Struct, rename="camel"):
    command: str = ""
    install_hint: str = ""


class _User(msgspec.Struct):
    exec: _Exec | None = None


class _NamedUser(msgspec.Struct):
    name: str
    user: _User | None = None


class _Context(msgspec.Struct):
    user: str = ""


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context | None = None


class _Kubeconfig(msgspec.Struct):
    """What is looked at before the library reads a file."""

    current_context: str = msgspec.field(name="current-context", default="")
    contexts: list[_NamedContext] | None = None
    users: list[_NamedUser] | None = None


class _Loader(Protocol):
    """What is used of the library's loader."""

    async def load_and_set(self, client_configuration: object) -> None: ...


class _Node(Protocol):
    """What is used of the library's reading of files: what one says, and which it is."""

    value: dict[str, Any]
    path: str


class _Configuration(Protocol):
    """What is used of the library's configuration of a client."""

    refresh_api_key_hook: object


async def load(files: str, context: str, configuration: object) -> None:
    """Tells a client's configuration what a file says, or several as `KUBECONFIG` has them. Raises AccessError."""
    from kubernetes.aio.config import ConfigException, kube_config

    plugin = _plugin(files, context)
    try:
        with _complaints() as complaints:
            merged = cast(_Node, kube_config.KubeConfigMerger(files).config)
            _place_plugins(merged)
            loader = cast(
                _Loader,
                kube_config.KubeConfigLoader(merged, active_context=context or None, config_base_path=None),  # pyright: ignore[reportArgumentType]
            )
            await loader.load_and_set(configuration)
    except ConfigException as error:
        raise AccessError(f"{files}: {str(error).partition('/{')[0]}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise AccessError(f"{files} cannot be used: {type(error).__name__} while it was read") from None
    if complaints:
        hint = f" ({plugin.install_hint})" if plugin.install_hint else ""
        raise AccessError(f"no credential from {plugin.command or files}: {'; '.join(complaints)}{hint}")
    cast(_Configuration, configuration).refresh_api_key_hook = _refreshing(loader)


def _place_plugins(merged: "_Node") -> None:
    """Plugins named by a relative path are beside the file that names them, as kubectl has it; bare names are on the
    PATH.
    """
    for node in cast("list[_Node]", merged.value["users"]):
        user: dict[str, Any] = node.value.get("user") or {}
        run: dict[str, Any] = user.get("exec") or {}
        command = run.get("command")
        if isinstance(command, str) and os.sep in command:
            run["command"] = str(Path(node.path).absolute().parent / command)


def _plugin(files: str, context: str) -> _Exec:
    """The plugin of the context that is meant, if any. Raises AccessError where there is no such context."""
    paths = [Path(each).expanduser() for each in files.split(os.pathsep) if each]
    found = [_read(path) for path in paths if path.exists()]
    if not found:
        raise AccessError(f"there is no file {files}")
    wanted = context or next((each.current_context for each in reversed(found) if each.current_context), "")
    contexts = {each.name: each.context or _Context() for one in reversed(found) for each in one.contexts or ()}
    if wanted not in contexts:
        known = f"it knows {', '.join(sorted(contexts))}" if contexts else "it knows none"
        raise AccessError(f"{files} has no context {wanted}: {known}" if wanted else f"{files}: no current-context")
    users = {each.name: each.user or _User() for one in reversed(found) for each in one.users or ()}
    return users.get(contexts[wanted].user, _User()).exec or _Exec()


def _read(path: Path) -> _Kubeconfig:
    try:
        with path.open("rb") as file:  # not as text: errors would quote it
            return msgspec.convert(yaml.safe_load(file), _Kubeconfig)
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise AccessError(f"{path} is not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    except msgspec.ValidationError as error:
        raise AccessError(f"{path} is no kubeconfig: {error}") from None


@contextmanager
def _complaints() -> Generator[list[str]]:
    """Collects what the library logs as an error, instead of showing it."""
    told: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: told.append(_plain(record.getMessage()))
    log = logging.getLogger(_LIBRARY_LOG)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield told
    finally:
        log.propagate = True
        log.removeHandler(handler)


def _plain(complaint: str) -> str:
    """The library prints what a plugin said as Python's bytes."""
    head, quote, said = complaint.partition(" b")
    quoted = quote and said[:1] in "'\"" and said[-1:] == said[:1]
    return " ".join((f"{head} {said[1:-1]}" if quoted else complaint).replace("\\n", " ").split())


def _refreshing(loader: _Loader) -> object:
    """A hook that asks plugins and token files again once a minute: tokens expire while we run."""
    asked = asyncio.get_running_loop().time()

    async def refresh(configuration: object) -> None:
        nonlocal asked
        now = asyncio.get_running_loop().time()
        if now - asked >= REFRESH_SECONDS:
            asked = now
            await loader.load_and_set(configuration)

    return refresh
