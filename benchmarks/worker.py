"""A script in its own process and Python environment, which answers requests: JSON objects, one a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from own_environment import clean_variables


class Worker:
    """A context manager; leaving it ends the process.

    Args:
      python: the interpreter. Unless it is this process's own, it does not see this process's packages.
      script: a file beside this one. It gets `options` as its argument, and sends one object when it is ready.
      threads: number of OpenMP's threads.
      options: arguments of the script.

    Attributes:
      info: the object that the script sent when it was ready.
      pid: of the process.
    """

    def __init__(self, python: str, script: str, threads: int, **options: Any) -> None:
        variables = dict(os.environ) if python == sys.executable else clean_variables()
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name(script)), json.dumps({**options, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**variables, "OMP_NUM_THREADS": str(threads)},
        )
        self._script = script
        self.pid = self._process.pid
        self.info = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._script} ended, see above")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
