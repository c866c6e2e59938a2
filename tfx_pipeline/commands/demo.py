"""`towers demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.config import loader as config_loader
from trainer.errors import TowersError

EPILOG = """\
example:
  towers demo
  towers demo --out /tmp/demo

Writes the built-in bookshop, runs the pipeline on it, serves the pushed model and asks it, over gRPC, for
recommendations to a reader of Chinese and a reader of English. About 5 minutes on 2 cores. Everything stays in --out;
a second call repeats only what changed.
"""

_CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
_QUERIES = {"zh": "想看看天文和星空的书", "en": "a book about ancient Rome and its emperors"}
_SHOWN_HISTORY = 4
_SECONDS = 30.0  # far more than a call takes, on a machine that may be busy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="default: runs/demo")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")


def run(arguments: argparse.Namespace) -> int:
    if not _CONFIG.exists():
        raise TowersError(f"{_CONFIG}: not found. `towers demo` runs in a clone of the project.")
    config = config_loader.load(_CONFIG, arguments.set)
    from serving.client import RecommenderClient
    from serving.server.process import ServerProcess
    from tfx_pipeline import bookshop
    from tfx_pipeline.commands.recommend import lines
    from tfx_pipeline.commands.run import execute
    from tfx_pipeline.runs import users
    from tfx_pipeline.runs.run_directory import RunDirectory
    from tfx_pipeline.terminal.screen import Screen

    screen = Screen()
    data, directory = Path(arguments.out, "data"), RunDirectory(Path(arguments.out, "run"))
    if not data.exists():
        counts = bookshop.write(data)
        screen.say(f"wrote a bookshop to {data}: {counts['users']:,} readers, {counts['events']:,} events")
    execute(config, data, directory.path, [], screen)

    titles = users.item_titles(directory)
    name = config.serving.model_name
    with ServerProcess(directory.serving(name), model_name=name) as server, RecommenderClient(server.address) as client:
        print(f"\n{server.readiness}")
        for language, user_id in bookshop.example_users(data).items():
            user = users.find_user(directory, user_id)
            print(f"\n{user_id} ({language}), of {len(user.history)} events the last:")
            for event in user.history[-_SHOWN_HISTORY:]:
                print(f"      {event.item_id}  {titles[event.item_id]}  {event.text[:60]}")
            print("   recommended:")
            answer = client.recommend(
                user_id=user_id, history=user.history, features=user.features, k=5, timeout=_SECONDS
            )
            print("\n".join(lines(answer, titles)))
            print(f'   recommended to a newcomer who reads the same language and asks "{_QUERIES[language]}":')
            answer = client.recommend(query=_QUERIES[language], features=user.features, k=5, timeout=_SECONDS)
            print("\n".join(lines(answer, titles)))
    print(
        f"\nserve it:  towers serve --model_base_path {directory.serving(name)} --model_name {name}"
        f"\nask it:    towers recommend --run {directory.path} --user {user_id}"
    )
    return 0
