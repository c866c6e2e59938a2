"""The command line, as a user calls it and within the tests' own process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import unittest.mock
from pathlib import Path

from tfx_pipeline import cli

ROOT = Path(__file__).parents[2]


def towers(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """`towers ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tfx_pipeline.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def towers_here(*arguments: str, working_directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`towers ARGUMENTS` in this process, which has imported TensorFlow and TFX already, ten seconds of work."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        # Files and not buffers: the run's screen writes to file descriptors.
        paths = [Path(directory, name) for name in ("stdout", "stderr")]
        streams = [stack.enter_context(open(path, "w", encoding="utf-8")) for path in paths]
        stack.callback(os.chdir, os.getcwd())
        os.chdir(working_directory)
        stack.enter_context(unittest.mock.patch.object(sys, "argv", ["towers", *arguments]))  # a run notes its command
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            try:
                code = cli.main(list(arguments))
            except SystemExit as error:  # how argparse ends
                code = error.code if isinstance(error.code, int) else 1
        for stream in streams:
            stream.flush()
        return subprocess.CompletedProcess([], code, *(path.read_text(encoding="utf-8") for path in paths))
