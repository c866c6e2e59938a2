"""Runs the steps of a command: shows them on the screen, logs their output, turns their errors into messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal import failures
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen, StepLine, redirect_output
from trainer.errors import TowersError


class Steps:
    """Numbered steps, run one after another.

    Args:
      count: the number of steps.
      directory: the run's directory, which has the logs.
      screen: shows the steps.
      interruption: stops the command after the present step.
      remains: what is kept after a failure, as the end of a message: "finished steps are kept".
      log_prefix: a step's log is named after the step, with this prefix.
    """

    def __init__(
        self,
        count: int,
        directory: RunDirectory,
        screen: Screen,
        interruption: Interruption,
        remains: str,
        log_prefix: str = "",
    ) -> None:
        self._count, self._directory, self._log_prefix = count, directory, log_prefix
        self._screen, self._interruption, self._remains = screen, interruption, remains
        self._number = 0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[StepLine]:
        """Runs the block as the next step, of this name.

        Raises:
          TowersError: the block failed or was interrupted. The message names the step, its log and what to do.
        """
        self._number += 1
        log = str(self._directory.log(f"{self._log_prefix}{name}"))
        with self._screen.step(self._number, self._count, name, self._interruption.check) as line:
            try:
                with redirect_output(log):
                    yield line
                if self._number < self._count:  # after the last step there is nothing left to stop
                    self._interruption.check()
            except KeyboardInterrupt:
                raise TowersError(f"stopped during {name}. Run the same command again: {self._remains}.") from None
            except Exception as error:
                raise failures.step_error(name, log, error, self._remains) from error
