"""New items in a trained model: read, encoded, indexed, pushed and swapped to, without training."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from serving.server.runtime import custom_ops
from tests.e2e.shop import Shop
from tests.serving.exported import Reloaded
from tests.support.command_line import towers, towers_here
from tfx_pipeline import bookshop
from tfx_pipeline.commands.reindex import with_settings
from tfx_pipeline.reindex import catalogue_changes
from tfx_pipeline.runs import users
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal.screen import Screen
from trainer.errors import TowersError

pytestmark = pytest.mark.slow

NEW, TWIN, BARE = "a-new-book", "z-twin-of-an-unread-book", "z-bare-book"
NEW_CATEGORY = "graphic novel"  # no item of the training has it
SECONDS = 30.0
_PARTS = 8  # of the catalogue, each small enough that all of its items are in one answer


@dataclass(frozen=True)
class Reindexing:
    """What was done to the run, and what the servers answered before and after.

    Attributes:
      directory: of the run, which is this module's own.
      table: the items table that was read, one dictionary a row.
      removed, changed, unread: an item that was removed, one with other content, and one without a train event, which
        has no id embedding of its own.
      output: what the command printed.
      asked: a user's answers before and after, by the server that ran all the time: question -> item -> score. A
        category's name is a question too: which of its items are recommended.
      versions: served before and after.
    """

    directory: RunDirectory
    table: list[dict[str, Any]]
    removed: str
    changed: str
    unread: str
    output: str
    asked: list[dict[str, dict[str, float]]]
    versions: list[int]


@pytest.fixture(scope="module")
def directory(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A copy of the shop's run: other tests look at how many versions it has."""
    place = tmp_path_factory.mktemp("reindexed") / "run"
    shutil.copytree(shop.directory.path, place)
    outputs = place / "outputs.json"
    outputs.write_text(outputs.read_text().replace(f'"{shop.directory.path}/', f'"{place}/'))
    return RunDirectory(place)


def versions_of(directory: RunDirectory) -> list[int]:
    return sorted(int(path.name) for path in directory.serving("recommender").iterdir() if path.name.isdigit())


@pytest.fixture(scope="module")
def reindexed(shop: Shop, directory: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Reindexing:
    rows = [json.loads(line) for line in (shop.data / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    before = catalogue_changes.read(directory.output("Ingest", "items"))
    user = users.find_user(directory, bookshop.example_users(shop.data)["en"])
    owned = {event.item_id for event in user.history}
    times = Counter(row["item_id"] for row in rows)  # the table has rows without an id, and repeated ones
    listed = [item_id for item_id, count in times.items() if count == 1 and item_id.encode() in before]
    unread = next(i for i in listed if before[i.encode()].train_count == 0 and i not in owned)
    removed, changed = [i for i in listed if before[i.encode()].train_count > 0 and i not in owned][:2]
    table = [row for row in rows if row["item_id"] != removed]
    by_id = {row["item_id"]: row for row in table}
    by_id[changed]["description"] = "guitar music and the sound of strings"
    table = [
        {
            **by_id[listed[-1]],
            **{"item_id": NEW, "title": "a story of space", "description": "love and war", "category": NEW_CATEGORY},
        },
        *table,
        {**by_id[unread], "item_id": TWIN},
        {"item_id": BARE},
    ]
    path = tmp_path_factory.mktemp("tables") / "items-today.jsonl"
    path.write_text("\n".join([*map(json.dumps, table), "{no row", ""]), encoding="utf-8")
    everything = [item.decode() for item in before] + [NEW, TWIN, BARE]

    def ask(client: RecommenderClient) -> dict[str, dict[str, float]]:
        def asked(wanted: list[str], signature: str, *categories: str) -> dict[str, float]:
            answer = client.recommend(
                user_id=user.user_id,
                history=user.history,
                features=user.features,
                exclude=sorted(set(everything) - set(wanted)),
                allowed_categories=categories,
                signature=signature,
            )
            return {item.item_id: item.score for item in answer}

        scores: dict[str, float] = {}
        for first in range(_PARTS):
            scores |= asked(everything[first::_PARTS], "retrieve")
        categories = {name: asked(everything, "recommend", name) for name in (NEW_CATEGORY, by_id[unread]["category"])}
        return {"every item": scores, "recommended": asked([NEW, BARE, TWIN], "recommend"), **categories}

    name = directory.config().serving.model_name
    with (
        ServerProcess(directory.serving(name), model_name=name, timeout=600) as server,
        RecommenderClient(server.address, timeout=SECONDS) as client,
    ):
        asked = [ask(client)]
        done = towers("reindex", "--run", str(directory.path), "--items", str(path), timeout=1200)
        assert done.returncode == 0, done.stderr
        (version,) = re.findall(r"^version +(\d+)$", done.stdout, re.MULTILINE)
        wait_for(lambda: [s.version for s in client.status() if s.state == "AVAILABLE"] == [int(version)])
        asked.append(ask(client))
    return Reindexing(
        directory, table, removed, changed, unread, done.stdout, asked, [versions_of(directory)[0], int(version)]
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "the server did not swap"
        time.sleep(0.5)


def test_it_says_what_changed(reindexed: Reindexing) -> None:
    first, second, *_ = reindexed.output.splitlines()
    assert re.fullmatch(r"items +\d+ in the index: 3 new, 1 changed, \d+ unchanged; 1 removed", first)
    assert re.match(" +1 new items have no text or feature that the model reads", second)
    assert re.search(r"^index +scann over \d+ items", reindexed.output, re.MULTILINE)
    (quarantine,) = re.findall(r"^table .* broken: (\S+)$", reindexed.output, re.MULTILINE)
    with gzip.open(next(Path(quarantine).glob("*.jsonl.gz")), "rt", encoding="utf-8") as file:
        assert "{no row" in [row["row"] for row in map(json.loads, file)]
    report = json.loads((reindexed.directory.reindexed / "report.json").read_text())
    assert report["changes"]["new"] == [NEW, BARE, TWIN]
    assert (report["changes"]["removed"], report["changes"]["changed"]) == ([reindexed.removed], [reindexed.changed])


def test_the_running_server_swaps_and_has_the_new_items_and_not_the_removed_one(reindexed: Reindexing) -> None:
    before, after = reindexed.asked
    assert before["recommended"] == {}
    assert after["recommended"].keys() == {NEW, TWIN, BARE}
    assert after["every item"].keys() - before["every item"].keys() == {NEW, TWIN, BARE}
    assert before["every item"].keys() - after["every item"].keys() == {reindexed.removed}
    assert reindexed.versions == sorted(reindexed.versions)


def test_users_and_items_that_did_not_change_score_as_before(reindexed: Reindexing) -> None:
    before, after = (answer["every item"] for answer in reindexed.asked)
    same = (before.keys() & after.keys()) - {reindexed.changed}
    assert len(same) > 80
    for item in same:
        assert after[item] == pytest.approx(before[item], abs=1e-5)
    assert abs(after[reindexed.changed] - before[reindexed.changed]) > 1e-4


def test_a_new_item_counts_as_one_that_was_never_read(reindexed: Reindexing) -> None:
    """Both have the content and no id: read by the same Transform, encoded by the same BERT, they score the same."""
    after = reindexed.asked[1]["every item"]
    assert after[TWIN] == pytest.approx(after[reindexed.unread], abs=1e-5)
    assert len({round(after[item], 4) for item in (NEW, TWIN, BARE)}) == 3


def test_a_category_that_came_with_a_new_item_is_allowed_by_its_name(reindexed: Reindexing) -> None:
    before, after = reindexed.asked
    assert before[NEW_CATEGORY] == {}
    assert after[NEW_CATEGORY].keys() == {NEW}
    category_of = {row["item_id"]: row.get("category") for row in reversed(reindexed.table)}  # the first row counts
    known = category_of[reindexed.unread]
    for answer in (before, after):
        assert len(answer[known]) > 1
        assert {category_of[item] for item in answer[known].keys() - {reindexed.removed}} == {known}


def test_the_reloaded_savedmodel_answers_as_the_server_does(reindexed: Reindexing) -> None:
    custom_ops.register()
    before, after = (
        Reloaded(reindexed.directory.serving("recommender") / str(version)) for version in reindexed.versions
    )
    signature = before._model.signatures["retrieve"].structured_input_signature[1]
    inputs = {}
    for name, spec in signature.items():
        rank = spec.shape.rank
        dtype = object if spec.dtype.name == "string" else spec.dtype.as_numpy_dtype
        empty = "" if dtype is object else 0
        inputs[name] = np.full([1, 1] if rank == 2 else [1], empty, dtype)
    inputs["history_item_id"][:] = reindexed.unread.encode()  # has the same vector in both
    old, new = (
        dict(zip(answer["item_id"][0].tolist(), answer["score"][0].tolist(), strict=True))
        for answer in (model("retrieve", inputs) for model in (before, after))
    )
    common = {item for item in old.keys() & new.keys() if item.decode() != reindexed.changed}
    assert len(common) > 10
    for item in common:
        assert new[item] == pytest.approx(old[item], abs=1e-5)
    others = [row["item_id"].encode() for row in reindexed.table if row["item_id"] != NEW]
    inputs["exclude_item_id"] = np.array([others], object)
    assert NEW.encode() in after("retrieve", inputs)["item_id"][0].tolist()


def test_titles_of_new_items_are_known(reindexed: Reindexing) -> None:
    titles = users.item_titles(reindexed.directory)
    assert titles[NEW] == "a story of space"
    assert titles[reindexed.removed]  # of users' histories


@pytest.mark.parametrize(
    ("table", "options", "code", "words"),
    [
        ("half", ["--set", "data.max_bad_row_rate=0.5"], 1, r"\d+ of the run's \d+ items are not in the items table"),
        ("broken", [], 1, "rows are broken"),
        ("none", [], 1, "items: no file matches"),
        ("whole", ["--set", "model.dim=8"], 2, "can change without training"),
        ("whole", ["--set", "serving.kk=8"], 2, "did you mean `k`?"),
        ("whole", ["--max_removed", "2"], 2, "--max_removed"),
        ("whole", ["--derict"], 2, "neither an option of this command nor one of Beam's"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_left(
    shop: Shop, directory: RunDirectory, tmp_path: Path, table: str, options: list[str], code: int, words: str
) -> None:
    lines = (shop.data / "items.jsonl").read_text(encoding="utf-8").splitlines()
    written = {"half": lines[: len(lines) // 3], "broken": ["{", *lines, *["{"] * len(lines)], "whole": lines}
    path = tmp_path / "items.jsonl"
    if table in written:
        path.write_text("\n".join(written[table]), encoding="utf-8")
    before = (versions_of(directory), sorted(path.name for path in directory.path.iterdir() if path.name[0] == "."))
    done = towers_here("reindex", "--run", str(directory.path), "--items", str(path), *options)
    assert done.returncode == code, done.stderr
    assert re.search(words, done.stderr.splitlines()[-1]), done.stderr
    assert "Traceback" not in done.stderr
    after = (versions_of(directory), sorted(path.name for path in directory.path.iterdir() if path.name[0] == "."))
    assert after == before


def test_a_failure_at_the_last_moment_leaves_nothing(
    shop: Shop, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx_pipeline.reindex import reindexing
    from tfx_pipeline.reindex.workspace import ReindexSettings

    def unanswered(model: Path) -> None:
        assert (model / "saved_model.pb").exists()
        raise TowersError(f"{model}: warm-up request 1 failed")

    monkeypatch.setattr(reindexing, "try_in_server", unanswered)
    before = {path: path.stat().st_mtime_ns for path in directory.path.rglob("*") if "text_store" not in str(path)}
    config = with_settings(directory.finished_config(), ["index.kind=brute_force"], None)
    with pytest.raises(TowersError, match=r"step Validate failed: .*warm-up request 1 failed.*nothing was pushed"):
        reindexing.reindex(ReindexSettings(config, str(shop.data), [], max_removed=0.5), directory, Screen())
    left = {path for path in directory.path.rglob("*") if "text_store" not in str(path)} - before.keys()
    assert {path.parent.name for path in left if path.is_file()} <= {"logs", "quarantine"}
    with directory.locked():
        pass  # it let go
