"""The whole path on one machine, as a user types it."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from tests.e2e.shop import Shop
from tests.support.command_line import towers, towers_here
from tfx_pipeline import bookshop
from tfx_pipeline.runs import users
from trainer.evaluation import detailed

pytestmark = pytest.mark.slow


def versions(shop: Shop) -> list[int]:
    return sorted(int(path.name) for path in shop.directory.serving("recommender").iterdir() if path.name.isdigit())


def test_steps_are_shown_with_times_and_nothing_else_is_printed(shop: Shop) -> None:
    lines = shop.first.stderr.splitlines()
    steps = [line for line in lines if re.fullmatch(r"\[ ?\d+/23\] \w+ +\d+\.\d s.*", line)]
    assert len(steps) == 23
    assert set(lines) - set(steps) == {lines[-1]}
    assert re.fullmatch(r"done in \d+ s", lines[-1])
    assert all(len(line) <= 100 for line in shop.first.stdout.splitlines()[:-2])  # the last two are paths
    for stage in ("popularity", "retrieval", "recommend"):
        assert re.search(rf"^  {stage}( \(not served\))? +0\.\d", shop.first.stdout, re.MULTILINE)


def test_what_a_run_leaves(shop: Shop) -> None:
    directory = shop.directory
    assert directory.config().model.dim == 16
    evaluation = json.loads((directory.report / "evaluation.json").read_text())
    assert evaluation["split"] == "test"
    schema = Path(detailed.__file__).with_name("evaluation.schema.json")
    jsonschema.validate(evaluation, json.loads(schema.read_text(encoding="utf-8")))
    languages = {part["name"] for part in evaluation["slices"] if part["by"] == "language of own text"}
    assert {"Chinese", "English (Latin letters)"} <= languages
    assert evaluation["ratings"]["ratings"] > 0
    counts = json.loads((directory.report / "data.json").read_text())
    assert sum(counts["tables"]["interactions"]["broken"].values()) > 0
    assert "represent_variable_length_as_ragged: true" in (directory.schema / "sequences.pbtxt").read_text()
    (version,) = versions(shop)
    assert abs(version - time.time()) < 3600
    left_over = [path for path in directory.path.rglob("*partial*") if "text_store" not in str(path)]
    assert left_over == []


def test_report(shop: Shop, tmp_path: Path) -> None:
    page = (shop.directory.report / "report.html").read_text(encoding="utf-8")
    assert "towers run --config" in page
    titles = json.loads(Path(shop.directory.output("Evaluator", "evaluation"), "examples.json").read_text("utf-8"))
    assert html.escape(titles[0]["recommended"][0]["title"]) in page
    assert "Latency of the export" in page
    assert "Probability of being liked, by slice" in page
    assert "The model passed every gate and was pushed to serving." in page
    run = str(shop.directory.path)
    again = towers_here("report", "--run", run, "--out", str(tmp_path / "page.html"))
    assert (again.returncode, again.stdout.strip()) == (0, str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").stat().st_size < 5e6
    both = towers_here("report", "--compare", run, run, "--out", str(tmp_path / "both.html"))
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("no significant difference") == 3
    assert "no significant difference" in (tmp_path / "both.html").read_text(encoding="utf-8")
    missing = towers_here("report", "--compare", run, str(tmp_path / "nowhere"))
    assert missing.returncode == 1
    assert "there is no such directory" in missing.stderr


def test_evaluate_says_what_the_run_said(shop: Shop, tmp_path: Path) -> None:
    output = tmp_path / "test.json"
    done = towers_here("evaluate", "--run", str(shop.directory.path), "--out", str(output))
    assert done.returncode == 0, done.stderr
    again, expected = (json.loads(path.read_text()) for path in (output, shop.directory.report / "evaluation.json"))
    assert again["ranking_is_served"] == expected["ranking_is_served"]
    for name, metrics in again["stages"].items():
        assert metrics == pytest.approx(expected["stages"][name])
    assert again["intervals"]["retrieval"]["ndcg@10"] == pytest.approx(expected["intervals"]["retrieval"]["ndcg@10"])


def test_an_unchanged_run_comes_from_the_cache_and_pushes_nothing(shop: Shop) -> None:
    before = versions(shop)
    start = time.monotonic()
    done = shop.again()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("unchanged, from the cache") == 22  # what was blessed last is asked every time
    assert time.monotonic() - start < 120  # 60 s on a quiet machine; see benchmarks
    assert versions(shop) == before
    assert done.stdout == shop.first.stdout


def test_a_change_of_one_section_repeats_only_what_depends_on_it(shop: Shop) -> None:
    before = versions(shop)
    done = shop.again("--set", "serving.k=9")
    assert done.returncode == 0, done.stderr
    for step in ("Ingest", "SequencesTransform", "EmbedTexts", "RetrievalTrainer", "IndexBuilder"):
        assert re.search(rf"{step} .*from the cache", done.stderr), step
    for step in ("Exporter", "EmbeddedInfraValidator", "AtomicPusher"):
        assert not re.search(rf"{step} .*from the cache", done.stderr), step
    assert len(versions(shop)) == len(before) + 1


def test_served_recommendations(shop: Shop) -> None:
    directory = shop.directory
    titles = users.item_titles(directory)
    with (
        ServerProcess(directory.serving("recommender"), model_name="recommender") as server,
        RecommenderClient(server.address, timeout=30.0) as client,
    ):
        for user_id in bookshop.example_users(shop.data).values():
            user = users.find_user(directory, user_id)
            owned = {event.item_id for event in user.history}
            for signature in ("recommend", "retrieve"):
                recommended = client.recommend(
                    user_id=user_id,
                    history=user.history,
                    features=user.features,
                    query="星空 stars",
                    signature=signature,
                )
                ids = [item.item_id for item in recommended]
                assert len(ids) == len(set(ids)) >= 8
                assert set(ids) <= set(titles) - owned
            stranger = client.recommend(query="deep sea", exclude=ids)
            assert stranger
            assert not {item.item_id for item in stranger} & set(ids)
        vectors = client.predict("encode_text", {"text": ["hello", "你好", ""]})
        (name,) = vectors
        assert np.allclose(np.linalg.norm(vectors[name], axis=1), [1, 1, 0], atol=1e-5)
        done = towers(
            "recommend", "--server", server.address, "--run", str(directory.path), "--user", user_id, "--k", "3"
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(("split", "stage"), [("test", "retrieval"), ("next", "recommend")])
def test_predict(shop: Shop, tmp_path: Path, split: str, stage: str) -> None:
    output = tmp_path / "out.jsonl"
    done = towers_here(
        *("predict", "--run", str(shop.directory.path), "--split", split, "--stage", stage),
        *("--k", "15", "--out", str(output)),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    user_ids = [line["user_id"] for line in lines]
    assert len(user_ids) == len(set(user_ids)) > 100
    for line in lines[:20]:
        assert len(set(line["item_ids"])) == len(line["item_ids"]) == len(line["scores"])
        if split == "next":
            owned = {event.item_id for event in users.find_user(shop.directory, line["user_id"]).history}
            assert not owned & set(line["item_ids"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_failed_step_names_itself_its_log_and_a_remedy(shop: Shop, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    bookshop.write(broken, users=30, items=20, events=200)
    table = broken / "interactions.csv"
    rows = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join([rows[0], *(row.replace(b"T", b"x") for row in rows[1:])]))  # no time can be read
    arguments = ["--config", "configs/demo.yaml", "--data", str(broken), "--out", str(tmp_path / "run")]
    done = towers_here("run", *arguments)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("towers: step Ingest failed: ")
    assert "unparsable time" in message
    (log,) = re.findall(r"Log: (\S+)\. ", message)
    assert Path(log).exists()
    (quarantine,) = re.findall(r"(\S*quarantine)\b", message)[:1]
    assert (Path(quarantine) / "counts.json").exists()
    assert not (tmp_path / "run" / "serving").exists()
    assert "Traceback" not in done.stderr
