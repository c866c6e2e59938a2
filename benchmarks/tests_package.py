"""Makes this project's `tests` importable outside pytest. Installed libraries have packages of that name too."""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]


def use_tests() -> None:
    """From now on, `import tests` imports this project's."""
    package = types.ModuleType("tests")
    package.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = package
