"""`make image-test`: builds the image of the Dockerfile, and runs tests/image on it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster.tools import cache_root as cluster_cache
from cluster.tools import key

from image.recipe import RecipeError, build, require_programs, save

IMAGE_VARIABLE = "HEADGATE_TEST_IMAGE"


def main(arguments: list[str]) -> int:
    base = os.environ.get("BASE", "")
    with tempfile.TemporaryDirectory(prefix="headgate-image-") as directory:
        try:
            require_programs(base)
            image = build(Path(directory), base)
        except RecipeError as error:
            sys.exit(f"make image-test: {error}")
        said = Path(directory) / "image.json"
        save(image, said)
        environment = {**os.environ, IMAGE_VARIABLE: str(said)}
        if (tools := cluster_cache() / key()).is_dir():
            environment["HEADGATE_TEST_CLUSTER_TOOLS"] = str(tools)
        tests = str(Path(__file__).parent)
        return subprocess.run([sys.executable, "-m", "pytest", "-s", tests, *arguments], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
