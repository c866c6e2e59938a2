"""Separate Python environments for the libraries that the project is compared with, PyTorch for example."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

INTERPRETERS = ("python3.11", "python3.12", "python3.10")
TORCH = "torch==2.13.0"


def python_with(directory: Path, *packages: str) -> str:
    """The interpreter of an environment with numpy and `packages`, created in `directory` if it is not there.

    Args:
      directory: of the environment. It is not removed, so that another benchmark can use it.
      packages: further requirements in pip's format.
    """
    python = directory / "bin" / "python"
    if not python.exists():
        interpreter = next(filter(None, map(_runs, INTERPRETERS)), None)
        if interpreter is None:
            sys.exit(
                f"none of {', '.join(INTERPRETERS)} is on PATH: an environment for {', '.join(packages)} needs one"
            )
        subprocess.run([interpreter, "-m", "venv", str(directory)], check=True)
    print(f"environment with {', '.join(packages)}: {directory}", file=sys.stderr, flush=True)
    required, installed = {"numpy", *packages}, directory / "installed.txt"
    present = set(installed.read_text(encoding="utf-8").split()) if installed.exists() else set()
    if not required <= present:
        install = [str(python), "-m", "pip", "install", "--quiet", *sorted(required)]
        subprocess.run(install, check=True, stdout=sys.stderr)
        installed.write_text("\n".join(sorted(required | present)), encoding="utf-8")
    return str(python)


def clean_variables() -> dict[str, str]:
    """This process's environment variables without those by which another interpreter would import our packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TF_USE_LEGACY_KERAS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _runs(name: str) -> str | None:
    """The path of the interpreter if it starts: PATH may hold a version manager's script for one that is missing."""
    path = shutil.which(name)
    if path and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
        return path
    return None
