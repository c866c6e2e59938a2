"""A Python environment of its own for what is measured against: PyTorch and others stay out of the project's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

INTERPRETERS = ("python3.11", "python3.12", "python3.10")
TORCH = "torch==2.13.0"


def python_with(directory: Path, *packages: str) -> str:
    """The interpreter of an environment with numpy and `packages`, made in `directory` if it is not there.

    Args:
      directory: of the environment; kept, so that a second benchmark finds it.
      packages: further requirements, as pip takes them.
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
    wanted, installed = {"numpy", *packages}, directory / "installed.txt"
    present = set(installed.read_text(encoding="utf-8").split()) if installed.exists() else set()
    if not wanted <= present:
        install = [str(python), "-m", "pip", "install", "--quiet", *sorted(wanted)]
        subprocess.run(install, check=True, stdout=sys.stderr)
        installed.write_text("\n".join(sorted(wanted | present)), encoding="utf-8")
    return str(python)


def bare() -> dict[str, str]:
    """This process's environment variables without those that would lead another interpreter to our packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TF_USE_LEGACY_KERAS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _runs(name: str) -> str | None:
    """The interpreter of that name, if it starts: a version manager's stand-in may be on PATH and lead nowhere."""
    found = shutil.which(name)
    if found and subprocess.run([found, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
        return found
    return None
