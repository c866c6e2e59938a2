"""Judges an export by loading it in the embedded server and sending it its warm-up requests."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from serving.export import warm_up_calls
from serving.server.process import ServerProcess
from serving.wire.errors import ServerError
from tfx_pipeline.gates.verdict import Check, Verdict
from trainer.errors import TowersError

GATE = "infra"
_MEASURED = ("retrieve", "rank", "recommend")
_LOAD_SECONDS = 600.0  # enough for a large index and its warm-up on a busy machine


@dataclass(frozen=True)
class ServerTrial:
    """How the server answered.

    Attributes:
      answered: number of warm-up requests that were answered.
      latency: signature -> `requests`, `p50_ms`, `p95_ms`, `p99_ms` of its smallest requests, sent one after another.
    """

    answered: int
    latency: dict[str, dict[str, float]]

    @property
    def summary(self) -> str:
        return f"loaded in the embedded server, {self.answered} warm-up requests answered"


def try_in_server(model: str | os.PathLike[str]) -> ServerTrial:
    """Loads a SavedModel in the embedded server, sends it its warm-up requests and measures their latency.

    Raises:
      TowersError: a request was not answered, or the model has no warm-up requests.
      ServerError: the model could not be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="infra-validator-") as base_path:
        os.symlink(os.path.abspath(model), os.path.join(base_path, "1"))
        # The server replays the warm-up records itself before it is ready. Here they are sent again by gRPC.
        with ServerProcess(base_path, model_name="candidate", timeout=_LOAD_SECONDS) as server:
            answered = warm_up_calls.send_requests(model, server.address, model_name="candidate")
            if not answered:
                raise TowersError(f"{model}: has no warm-up requests to test it with. Export it again.")
            latency = warm_up_calls.measure_latency(model, server.address, model_name="candidate", signatures=_MEASURED)
    return ServerTrial(answered, latency)


def judge(model: str) -> Verdict:
    """The verdict on a SavedModel directory."""
    try:
        result = try_in_server(model)
    except (TowersError, ServerError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"  # the server's log is between them
        return Verdict(GATE, (Check("loads and answers", False, reason.rstrip(".")),))
    recommend = result.latency["recommend"]
    reason = f"{result.summary}; recommend p50 {recommend['p50_ms']:.1f} ms, p99 {recommend['p99_ms']:.1f} ms"
    return Verdict(GATE, (Check("loads and answers", True, reason),), measured={"latency": result.latency})
