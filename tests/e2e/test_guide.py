"""Commands and Python in the guide do what the guide says, on a small shop.

Blocks marked `bash` and `python` are executed page by page, in their order. `data` and `runs/shop` stand for the shared
shop's tables and run, and 127.0.0.1:8500 for a server of that run. A comment stands before a block that is not
executed: `<!-- not run: reason -->`, or `<!-- background: serve -->` for the server, which a fixture starts.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.server.flags import parse_flags
from serving.server.process import ServerProcess
from tests.e2e.shop import Shop
from tests.support.command_line import ROOT, towers_here

pytestmark = pytest.mark.slow

PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", re.DOTALL)
SECONDS = 300.0


@dataclass(frozen=True)
class Place:
    """Where the guide's blocks run, and what stands for its names."""

    directory: Path
    shop: Shop
    address: str

    def fill(self, code: str) -> str:
        code = code.replace("127.0.0.1:8500", self.address)
        code = re.sub(r"(?<=--data )data\b", shlex.quote(str(self.shop.data)), code)
        return re.sub(r"(?<=\s)runs/shop(?=\s|/|$)", shlex.quote(str(self.shop.directory.path)), code)


@pytest.fixture(scope="module")
def place(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("guide")
    (directory / "configs").symlink_to(ROOT / "configs")
    with ServerProcess(shop.directory.serving("recommender"), model_name="recommender") as server:
        yield Place(directory, shop, server.address)


def test_the_guide_has_blocks_to_run() -> None:
    pages = {name: list(BLOCK.finditer((ROOT / "docs" / name).read_text(encoding="utf-8"))) for name in PAGES}
    blocks = [block for matches in pages.values() for block in matches]
    skipped = [block for block in blocks if (block["note"] or "").startswith("not run")]
    assert len(blocks) - len(skipped) >= 10
    assert all(re.fullmatch(r"not run: .{20,}|background: serve", block["note"]) for block in blocks if block["note"])


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, place: Place) -> None:
    for block in BLOCK.finditer((ROOT / "docs" / page).read_text(encoding="utf-8")):
        note, code = block["note"] or "", place.fill(block["code"])
        if note.startswith("not run"):
            continue
        if note == "background: serve":
            (command,) = code.strip().splitlines()
            parse_flags(shlex.split(command)[2:])
        elif block["language"] == "bash":
            for command in code.strip().splitlines():
                check(page, command, run_command(shlex.split(command), place))
        else:
            check(page, code, run_python(code, place))


def run_command(words: list[str], place: Place) -> subprocess.CompletedProcess[str]:
    program, *arguments = words
    assert program == "towers", "the guide's commands are calls of towers, one a line"
    if arguments[0] == "run":  # with the shared shop's settings, so that the run's steps come from the cache
        arguments += place.shop.arguments[place.shop.arguments.index("--set") :]
    if arguments[:2] == ["data", "demo"]:  # the shared shop's tables are there already
        arguments += ["--out", "made"]
    return towers_here(*arguments, working_directory=place.directory)


def run_python(code: str, place: Place) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def check(page: str, code: str, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
