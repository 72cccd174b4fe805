"""Modules of the processor compiled ahead of time, by mypyc: a hook of the wheel's build.

Off unless `HATCH_BUILD_HOOK_ENABLE_CUSTOM=true` asks for it, and never part of an editable install. Which modules, and
with what, is said in pyproject.toml. Their sources stay in the wheel.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """Adds a library for each of the modules, and those that all of them are in."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles; ends the build where mypy or the C compiler refuses a module."""
        if version == "editable":
            return
        # Here only where the hook is on.
        from mypyc.build import mypycify
        from setuptools import Distribution

        self._directory = TemporaryDirectory(prefix="headgate-")
        libraries, generated = Path(self._directory.name, "lib"), Path(self._directory.name, "c")
        os.chdir(self.root)  # mypy's configuration is there, and tracebacks name files as they are named here
        extensions = mypycify(self.config["modules"], target_dir=str(generated), debug_level="0", group_name="headgate")
        command = Distribution({"name": "headgate", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(libraries), str(generated)
        command.ensure_finalized()
        command.run()
        build_data["force_include"] |= {str(path): str(path.relative_to(libraries)) for path in libraries.rglob("*.so")}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if version != "editable":
            self._directory.cleanup()
