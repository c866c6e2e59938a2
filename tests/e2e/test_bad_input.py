"""Odd data, a full disk, a stopped run: the whole path ends in a pushed model or in one line that says what to do."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import yaml
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tests.support import tiny_bert
from tests.support.command_line import ROOT
from tfx_pipeline import cli
from tfx_pipeline.components.schema import reconcile
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import loader as config_loader
from trainer.data.features import item_features, sequence_features

pytestmark = pytest.mark.slow

KEY = "correct-horse-battery-staple"
SMALL = {
    "model": {"dim": 8, "layers": 1},
    "retrieval": {"epochs": 1},
    "ranking": {"epochs": 1},
}
MEBIBYTE = 1 << 20


def versions(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "serving" / "recommender").glob("*"))


def predicted(path: Path) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["user_id"]: line["item_ids"] for line in lines}


class Place:
    """A dataset, its configuration and the directory of its runs."""

    def __init__(self, path: Path, data: dict, **sections: dict):
        self.path = path
        self.data = path / "data"
        self.data.mkdir()
        self.out = path / "run"
        encoder = tiny_bert.write(path / "bert", seed=1)
        document = {"name": "odd", "data": data, "text": {"encoder": encoder}, **{**SMALL, **sections}}
        (path / "config.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")

    def arguments(self, *more: str) -> list[str]:
        return [
            "run",
            *map(str, ("--config", self.path / "config.yaml", "--data", self.data, "--out", self.out)),
            *more,
        ]

    def run_here(self, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
        """`towers run` in this process, which has imported TFX already.

        Args:
          largest_file: no file may grow beyond so many bytes: a disk that is full in mid-write.
        """
        printed = [self.path / "stdout", self.path / "stderr"]
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("ODD_KEY", KEY)
            streams = [stack.enter_context(open(path, "w", encoding="utf-8")) for path in printed]
            stack.enter_context(contextlib.redirect_stdout(streams[0]))
            stack.enter_context(contextlib.redirect_stderr(streams[1]))
            if largest_file:
                limits = resource.getrlimit(resource.RLIMIT_FSIZE)
                stack.callback(signal.signal, signal.SIGXFSZ, signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
                stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, limits[1]))
            code = cli.main(self.arguments())
        return subprocess.CompletedProcess([], code, *(path.read_text(encoding="utf-8") for path in printed))

    def start(self) -> subprocess.Popen[str]:
        """`towers run` in a process of its own, which can be stopped."""
        return subprocess.Popen(
            [sys.executable, "-m", "tfx_pipeline.cli", *self.arguments()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ODD_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def lines_until(process: subprocess.Popen[str], step: str) -> list[str]:
    """What a run prints until that step is done."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if f"] {step} " in line:
            return lines
    raise AssertionError("".join(lines))


def from_cache(stderr: str) -> list[str]:
    return re.findall(r"\] (\w+) .*unchanged, from the cache", stderr)


def files_of_unfinished_steps(out: Path, step: str) -> list[Path]:
    return [path for path in (out / "artifacts" / step).rglob("*") if path.is_file() and ".system" not in path.parts]


# A shop of five items: nothing but ids and an order.


@pytest.fixture(scope="module")
def five_items(tmp_path_factory: pytest.TempPathFactory) -> Place:
    interactions = {"path": "events.csv", "user_id": "u", "item_id": "i", "time": "n", "time_format": "order"}
    by_time = {"kind": "time", "validation_from": "3", "test_from": "4"}
    place = Place(tmp_path_factory.mktemp("five"), {"interactions": interactions, "split": by_time})
    draw = random.Random(1)
    rows = ["u,i,n", "lonely,i2,1"]
    for user in range(20):
        items = draw.sample(range(5), 3 + user % 2)
        rows += [f"user{user},i{item},{n}" for n, item in enumerate(items, 1)]
    (place.data / "events.csv").write_text("\n".join(rows) + "\n")
    assert cli.main(place.arguments()) == 0
    return place


def test_five_items_split_by_time_without_tables_texts_ratings_or_clock(five_items: Place, tmp_path: Path) -> None:
    assert len(versions(five_items.out)) == 1
    evaluation = json.loads((five_items.out / "report" / "evaluation.json").read_text())
    assert 0 < evaluation["stages"]["retrieval"]["ndcg@10"] <= 1
    assert evaluation["split"] == "test"
    output = tmp_path / "next.jsonl"
    assert cli.main(["predict", "--run", str(five_items.out), "--k", "100", "--out", str(output)]) == 0
    lists = predicted(output)
    assert len(lists) == 21
    for user in range(20):
        assert len(set(lists[f"user{user}"])) == 2 - user % 2  # what they do not have
    assert set(lists["lonely"]) == {"i0", "i1", "i3", "i4"}


def test_an_answer_longer_than_the_catalogue_is_filled_up(five_items: Place) -> None:
    (version,) = versions(five_items.out)
    model = tf.saved_model.load(str(five_items.out / "serving" / "recommender" / version))
    assert "encode_text" not in model.signatures  # nothing in the data is text
    for name in ("recommend", "retrieve"):
        signature = model.signatures[name]
        inputs = {
            key: tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
            for key, spec in signature.structured_input_signature[1].items()
        }
        answer = signature(**{**inputs, "history_item_id": tf.constant([["i1", "i4"]])})
        ids = [item for item in answer["item_id"].numpy()[0].tolist() if item]
        assert sorted(ids) == [b"i0", b"i2", b"i3"]
        assert answer["item_id"].shape[1] >= 3


def test_nobody_has_enough_events(five_items: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.csv").write_text("u,i,n\n" + "".join(f"u{n % 9},i{n // 9},{n}\n" for n in range(18)))
    arguments = ["--set", "data.split={}", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert cli.main([*five_items.arguments(), *arguments]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("towers: step Ingest failed: ")
    assert "no user has 3 events" in line
    assert ".." not in line
    assert not (tmp_path / "run" / "serving").exists()


def test_places_that_cannot_be_written_to(five_items: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("")
    (tmp_path / "file").write_text("")
    for out, words in (
        ("letters", "not empty and not the directory of a run"),
        ("file", "is a file"),
        ("file/run", "Not a directory"),
    ):
        assert cli.main([*five_items.arguments(), "--out", str(tmp_path / out)]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert words in line
    config = RunDirectory(five_items.out).config()
    with RunDirectory(five_items.out).opened(config):
        assert cli.main(five_items.arguments()) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"in use by another run (process {os.getpid()})" in line
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mine.txt"]


# A shop with everything odd, made by a run that did not fit its schema, was stopped, found no room, was killed, and
# came to its end.


def write_odd_tables(data: Path) -> None:
    draw = random.Random(1)
    rows = ["用户,商品,时间,评论,搜索,设备,评分"]
    for user in range(30):
        for day in range(draw.randint(3, 7)):
            review, query = draw.choice(["好书 love it", "", "great story 👍"]), draw.choice(["", "太空"])
            device, rating = draw.choice(["phone", ""]), draw.choice(["", "5"])
            item, moment = draw.randrange(25), 1_700_000_000 + 86_400 * day + user
            rows.append(f"reader-{user:03},book-{item:03},{moment},{review},{query},{device},{rating}")
    rows += ["reader-lonely,book-001,1700000000,,,,", "reader-broken,book-001,soon,,,,", ",book-001,1700000000,,,,"]
    (data / "互动.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    nothing = {"价格": None, "标签": None, "vector": None, "类别": ""}
    items = [{"编号": f"book-{item:03}", "书名": f"书 {item} space", **nothing} for item in range(26)]
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in items]
    (data / "商品.jsonl").write_text("".join(lines), encoding="utf-8")
    with gzip.open(data / "用户.csv.gz", "wt", encoding="utf-8") as file:
        file.write("用户,年龄,地区\n" + "".join(f"reader-{user:03},,\n" for user in range(30)))


ODD = {
    "interactions": {
        **{"path": "互动.csv", "user_id": "用户", "item_id": "商品", "time": "时间", "time_format": "epoch_seconds"},
        **{"text": {"review": "评论"}, "query": {"asked": "搜索"}, "context": {"device": "设备"}, "rating": "评分"},
    },
    "items": {
        **{"path": "商品.jsonl", "item_id": "编号", "text": {"title": "书名"}, "categorical": {"kind": "类别"}},
        **{"multi_valued": {"tags": "标签"}, "numeric": {"price": "价格"}, "dense": {"vector": 4}},
    },
    "users": {"path": "用户.csv.gz", "user_id": "用户", "categorical": {"region": "地区"}, "numeric": {"age": "年龄"}},
    "repeats": "all",
    "exclude_history": False,
    "split": {"test": False},
    "max_bad_row_rate": 0.1,
    "pseudonymise": {"key_env": "ODD_KEY"},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Place:
    path = tmp_path_factory.mktemp("odd")
    schema = path / "schema"
    schema.mkdir()
    place = Place(path, {**ODD, "frozen_schema": str(schema)}, ranking={"enabled": False}, index={"kind": "scann"})
    write_odd_tables(place.data)
    return place


def test_before_the_first_step(odd: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ODD_KEY", raising=False)
    assert cli.main(odd.arguments()) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "environment variable ODD_KEY, which holds the key for pseudonyms, is not set" in line
    monkeypatch.setenv("ODD_KEY", KEY)
    assert cli.main(odd.arguments("--set", "data.frozen_schema=/no/where")) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "/no/where/sequences.pbtxt: cannot read the schema (No such file or directory)" in line


@pytest.fixture(scope="module")
def unfit(odd: Place) -> str:
    """What is printed when the frozen schema forbids what the data has. It is mended afterwards, under its name."""
    data = config_loader.load(odd.path / "config.yaml").data
    for table, features in (("sequences", sequence_features(data)), ("items", item_features(data))):
        schema = reconcile(schema_pb2.Schema(), features)
        tfdv.write_schema_text(schema, str(odd.path / "schema" / f"{table}.pbtxt"))
    path = odd.path / "schema" / "sequences.pbtxt"
    good = path.read_text()
    forbidding = text_format.Parse(good, schema_pb2.Schema())
    (events,) = [feature for feature in forbidding.feature if feature.name == "item_id"]
    events.value_count.max = 1
    path.write_text(text_format.MessageToString(forbidding))
    done = odd.run_here()
    path.write_text(good)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr


def test_data_that_does_not_fit_its_schema(unfit: str) -> None:
    line = unfit.splitlines()[-1]
    assert line.startswith("towers: step SequencesValidator failed: the data does not match its schema: ")
    assert "item_id" in line
    assert "Correct the data" in line
    assert "data.frozen_schema" in line
    assert "Traceback" not in unfit


@pytest.fixture(scope="module")
def interrupted(odd: Place, unfit: str) -> str:
    """What is printed when RetrievalTrainer is interrupted as with Ctrl-C."""
    process = odd.start()
    before = lines_until(process, "EmbedTexts")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, rest = process.communicate(timeout=60)
    assert process.returncode == 1, rest
    assert output == ""
    assert files_of_unfinished_steps(odd.out, "RetrievalTrainer") == []
    return "".join(before) + rest


@pytest.fixture(scope="module")
def out_of_space(odd: Place, interrupted: str) -> str:
    """What the same command prints when the exported model does not fit on the disk."""
    done = odd.run_here(largest_file=MEBIBYTE * 3 // 4)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert not (odd.out / "serving").exists()
    assert files_of_unfinished_steps(odd.out, "Exporter") == []
    return done.stderr


@pytest.fixture(scope="module")
def killed(odd: Place, out_of_space: str) -> str:
    """What the same command prints when it is killed in infra validation."""
    process = odd.start()
    before = lines_until(process, "Exporter")
    process.kill()
    process.communicate(timeout=60)
    assert not (odd.out / "serving").exists()
    return "".join(before)


@pytest.fixture(scope="module")
def finished(odd: Place, killed: str) -> subprocess.CompletedProcess[str]:
    done = odd.run_here()
    assert done.returncode == 0, done.stderr
    return done


def test_interrupted(interrupted: str) -> None:
    assert {"Ingest", "ItemsStatistics", "SequencesStatistics"} <= set(from_cache(interrupted))
    assert "SequencesSchema" not in from_cache(interrupted)  # mended: the cache must not hold what was there
    *_, step, message = interrupted.splitlines()
    assert re.match(r"\[11/\d+\] RetrievalTrainer .* failed$", step)
    assert message == "towers: stopped during RetrievalTrainer. Run the same command again: finished steps are kept."
    assert "Traceback" not in interrupted


def test_full_disk_in_mid_write(out_of_space: str) -> None:
    assert "EmbedTexts" in from_cache(out_of_space)
    *_, step, message = out_of_space.splitlines()
    assert re.match(r"\[14/\d+\] Exporter .* failed$", step)
    assert message.startswith("towers: step Exporter failed: could not write its output (File too large). Log: ")
    assert "Make room, then run the same command" in message
    assert "Traceback" not in out_of_space


def test_the_same_command_goes_on(killed: str, finished: subprocess.CompletedProcess[str], odd: Place) -> None:
    assert {"RetrievalTrainer", "IndexBuilder"} <= set(from_cache(killed))
    assert "Exporter" not in from_cache(killed)
    assert {"Ingest", "EmbedTexts", "RetrievalTrainer", "Exporter"} <= set(from_cache(finished.stderr))
    assert not {"EmbeddedInfraValidator", "AtomicPusher"} & set(from_cache(finished.stderr))
    assert len(versions(odd.out)) == 1
    assert [path for path in odd.out.rglob("*") if re.search(r"partial|incomplete|\.tmp", path.name)] == []


def test_no_id_and_no_key_is_written(odd: Place, finished: subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    secret = re.compile(rb"reader-\d|reader-lonely|reader-broken|book-\d|" + KEY.encode())
    paths = [path for path in odd.out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".gz" for path in paths)
    for path in paths:
        content = path.read_bytes()
        assert not secret.search(gzip.decompress(content) if path.suffix == ".gz" else content), path
    assert not secret.search((finished.stdout + finished.stderr).encode())


def test_predictions_have_original_ids(
    odd: Place,
    finished: subprocess.CompletedProcess[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "next.jsonl"
    arguments = ["predict", "--run", str(odd.out), "--k", "100", "--out", str(output), "--data", str(odd.data)]
    monkeypatch.delenv("ODD_KEY", raising=False)
    assert cli.main(arguments) == 2
    assert "ODD_KEY" in capfd.readouterr().err
    assert not output.exists()
    monkeypatch.setenv("ODD_KEY", KEY)
    assert cli.main(arguments) == 0
    lists = predicted(output)
    assert set(lists) == {f"reader-{user:03}" for user in range(30)} | {"reader-lonely"}
    for items in lists.values():  # what a user has may come again, and a new book may come, as in serving
        assert set(items) <= {f"book-{item:03}" for item in range(26)}
        assert len(set(items)) == len(items) >= 20
    assert cli.main([*arguments[:-2], "--split", "test"]) == 2
    assert "without a test split" in capfd.readouterr().err
