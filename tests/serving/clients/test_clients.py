"""The clients that others can copy, each run outside this repository against a server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client import RecommenderClient

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parents[3] / "serving" / "clients"
USER, HISTORY = "user-1", ["item-0003", "item-0008"]


@pytest.fixture(scope="module")
def server(start, recommender):
    return start(recommender)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(CLIENTS, tmp_path / "clients", ignore=shutil.ignore_patterns("node_modules"))


def run(*command, folder):
    """Runs a command without this repository on Python's path; returns the lines that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def assert_recommends(lines, server):
    with RecommenderClient(server.address, "tiny", timeout=30) as client:
        expected = client.recommend(user_id=USER, history=HISTORY)
    items = [(item_id, float(score)) for item_id, score in (line.split("\t") for line in lines)]
    assert [item_id for item_id, _ in items] == [item.item_id for item in expected]
    assert [score for _, score in items] == pytest.approx([item.score for item in expected], abs=1e-5)


def test_python(server, folder):
    arguments = (server.address, "tiny", USER, *HISTORY)
    assert_recommends(run(sys.executable, "recommend.py", *arguments, folder=folder / "python"), server)


def test_python_needs_no_tensorflow(folder):
    code = "import sys, recommend; print(*sys.modules, sep='\\n')"
    modules = {name.partition(".")[0] for name in run(sys.executable, "-c", code, folder=folder / "python")}
    assert modules.isdisjoint({"tensorflow", "tensorflow_serving", "numpy", "serving"})


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node(server, folder):
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder / "node")
    arguments = (server.address, "tiny", USER, *HISTORY)
    assert_recommends(run("node", "recommend.js", *arguments, folder=folder / "node"), server)


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in (CLIENTS / "node" / "package-lock.json").read_text(encoding="utf-8")
