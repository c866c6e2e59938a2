"""One blessing out of all verdicts, and which model was blessed last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.types import standard_artifacts

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.components.tables import TABLES, Table
from tfx_pipeline.gates import model_blesser, verdict
from tfx_pipeline.gates.last_blessed import EarlierBlessedModelStrategy
from tfx_pipeline.gates.verdict import Check, Verdict
from tfx_pipeline.terminal import progress

ALL = ("quality", "index", "skew", "drift", "infra")


def artifact(kind: type[types.Artifact], place: Path, number: int = 0) -> types.Artifact:
    made = kind()
    made.uri, made.id = str(place), number
    return made


def blessed_by(
    refusing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[types.Artifact, list[str]]:
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    monkeypatch.setattr(Table, "load_statistics", lambda table, artifacts: statistics)
    summaries: list[str] = []
    monkeypatch.setattr(progress, "summary", summaries.append)
    inputs: dict[str, Any] = {"model": [artifact(standard_artifacts.Model, tmp_path / "model", 7)]}
    inputs |= {f"{table}_statistics": [] for table in TABLES}
    for gate in ALL:
        kind = standard_artifacts.InfraBlessing if gate == "infra" else GateVerdict
        inputs[gate] = [artifact(kind, tmp_path / gate)]
        (tmp_path / gate).mkdir()
        check = Check("a figure", gate != refusing, "0.1, wanted 0.2")
        verdict.write(tmp_path / gate, Verdict(gate, (check,), note="half was not seen" if gate == "drift" else ""))
    blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing", 8)
    (tmp_path / "blessing").mkdir()
    model_blesser.ModelBlesserExecutor().Do(inputs, {"blessing": [blessing]}, {})
    return blessing, summaries


@pytest.mark.parametrize("refusing", [None, *ALL])
def test_every_gate_can_refuse(refusing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blessing, (summary,) = blessed_by(refusing, tmp_path, monkeypatch)
    assert blessing.get_int_custom_property("blessed") == int(refusing is None)
    assert blessing.get_int_custom_property("current_model_id") == 7
    assert (Path(blessing.uri) / "BLESSED").exists() == (refusing is None)
    assert (Path(blessing.uri) / "NOT_BLESSED").exists() == (refusing is not None)
    whole = verdict.read(blessing.uri)
    assert whole.refusals == ([] if refusing is None else [f"{refusing}: 0.1, wanted 0.2"])
    if refusing is None:
        assert summary == "passed quality, index, skew, drift, infra; drift: half was not seen"
    else:
        assert summary == f"refused: {refusing}: 0.1, wanted 0.2"


def last_blessed_id(candidate: int, blessed: dict[int, bool]) -> int | None:
    """Id of the model that a candidate is held against, of models that were blessed or not, oldest first."""
    models = {number: artifact(standard_artifacts.Model, Path("/nowhere"), number) for number in blessed}
    blessings = []
    for number, yes in blessed.items():
        blessing = standard_artifacts.ModelBlessing()
        blessing.id = 100 + number
        blessing.set_int_custom_property("blessed", int(yes))
        blessing.set_int_custom_property("current_model_id", number)
        blessings.append(blessing)
    inputs = {"candidate": [models[candidate]], "model": list(models.values()), "model_blessing": blessings}
    resolved = EarlierBlessedModelStrategy().resolve_artifacts(None, inputs)  # type: ignore[arg-type]
    assert resolved is not None
    return resolved["model"][0].id if resolved["model"] else None


@pytest.mark.parametrize(
    ("candidate", "blessed", "expected"),
    [
        (1, {1: True}, None),  # itself alone
        (2, {1: True, 2: True}, 1),
        (2, {1: False, 2: True}, None),
        (3, {1: True, 2: False, 3: True}, 1),
        (3, {1: True, 2: True, 3: False}, 2),
        (1, {1: True, 2: True, 3: False}, 2),  # a run that is repeated after others
    ],
)
def test_a_candidate_is_held_against_the_newest_other_blessed_model(
    candidate: int, blessed: dict[int, bool], expected: int | None
) -> None:
    assert last_blessed_id(candidate, blessed) == expected
