"""The embedded server as a child process, for infrastructure validation, tests and the demo."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from serving.server.output_lines import READY
from serving.wire.errors import ServerError

_LOG_TAIL_LINES = 12
_STOP_SECONDS = 40.0


class ServerProcess:
    """`with ServerProcess(base_path, model_name="recommender") as server: ... server.address`.

    Args:
        base_path: directory with numbered version directories.
        model_name: the name clients ask for.
        port: 0 takes a free one.
        timeout: seconds within which the model should be available.
        arguments: further flags of the server.

    Attributes:
        address: host:port, after the start.
        readiness: the line that the server prints when it is ready.
    """

    def __init__(
        self,
        base_path: Path | str,
        model_name: str = "default",
        *,
        port: int = 0,
        timeout: float = 120.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.address = ""
        self.readiness = ""
        self._model_name = model_name
        self._timeout = timeout
        self._command = [
            *(sys.executable, "-m", "serving.server.main"),
            *(f"--model_base_path={base_path}", f"--model_name={model_name}", f"--port={port}"),
            *arguments,
        ]
        self._process: subprocess.Popen[str] | None = None
        self._log_file = tempfile.TemporaryFile("a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in stop

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.pid

    def start(self) -> "ServerProcess":
        """Starts the process and waits until it is ready.

        Raises:
            ServerError: the process ended or was not ready in time. The message has the last lines of its log.
        """
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=self._log_file, stdin=subprocess.DEVNULL, text=True
        )
        reader = threading.Thread(target=self._read_readiness, args=(self._process,), daemon=True)
        reader.start()
        reader.join(self._timeout)
        if not self.readiness:
            problem = f"was not ready within {self._timeout:g} s"
            if not reader.is_alive():  # the process closed its output, so it is ending
                problem = f"ended with exit code {self._process.wait(_STOP_SECONDS)}"
            self._end()
            tail = self.log_tail()
            self._log_file.close()
            raise ServerError(f"the server of model {self._model_name} {problem}: {tail}")
        self.address = self.readiness.rsplit(" on ", 1)[1].split()[0]
        return self

    def stop(self) -> int:
        """Asks the server to stop, waits for it, and returns its exit code."""
        self._end()
        if not self._log_file.closed:
            self._log_file.close()
        return self.returncode if self.returncode is not None else 0

    @property
    def returncode(self) -> int | None:
        """None while the process runs."""
        return self._process.poll() if self._process else None

    def log_tail(self) -> str:
        """The last lines of the server's log."""
        self._log_file.seek(0)
        lines = [line for line in self._log_file.read().splitlines() if line.strip()]
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def __enter__(self) -> "ServerProcess":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read_readiness(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(READY):
                self.readiness = line.strip()
                return

    def _end(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
