"""What a gateway is to serve: files, what the environment holds keys for, or the demo."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headgate.cli import providers, welcome
from headgate.cli.ports import free_port
from headgate.cli.run_options import RunOptions
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory

if TYPE_CHECKING:
    from headgate.controller.loop import Build

_DEMO_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to serve."""

    build: "Callable[[], Build]"
    """Loads and compiles; called in a thread, before the start is through and after every change."""
    watched: tuple[Path, ...] = ()
    """What is built again when it changes."""
    told: tuple[str, ...] = ()
    """Lines for the user at the start."""
    welcome: Callable[[str], str] | None = None
    """From the base URL to what is printed after `ready`."""
    demo_address: str = ""
    """Where the demo provider has to listen; empty if it is not needed."""


def make_plan(options: RunOptions, state: StateDirectory, environment: Mapping[str, str]) -> Plan:
    """The plan of a command line. Raises StartError for a PATH that cannot be read."""
    if options.paths:
        _require_readable(options.paths)
        return Plan(build=_builder(options.paths, options, state, environment), watched=options.paths)
    found = providers.find(environment)
    demo_address = "" if found.used else f"{_DEMO_HOST}:{free_port(_DEMO_HOST)}"
    text = providers.manifests(found, port=options.port, demo_address=demo_address)
    path = state.path / "gateway.yaml"
    path.write_text(text)
    return Plan(
        build=_builder((path,), options, state, environment),
        told=found.told or ("no provider key in the environment: serving the demo provider",),
        welcome=welcome.maker(found),
        demo_address=demo_address,
    )


def _require_readable(paths: tuple[Path, ...]) -> None:
    for path in paths:
        try:
            if not path.is_dir():
                with path.open("rb"):
                    pass
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from error


def _builder(
    paths: tuple[Path, ...], options: RunOptions, state: StateDirectory, environment: Mapping[str, str]
) -> "Callable[[], Build]":
    built: list[Callable[[], Build]] = []

    def build() -> "Build":
        # The compiler is imported with the first build, in its thread: Envoy and gRPC start meanwhile.
        from headgate.cli.configuration import Configuration

        if not built:
            built.append(Configuration(paths, options, state, environment).build)
        return built[0]()

    return build
