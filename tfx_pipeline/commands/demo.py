"""`towers demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.commands.options import add_overrides
from trainer.config import loader as config_loader
from trainer.errors import TowersError

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and --help does not need it
    from serving.client import RecommenderClient
    from tfx_pipeline.runs.users import KnownUser

EPILOG = """\
example:
  towers demo
  towers demo --out /tmp/demo

Writes the data of a built-in bookshop, runs the pipeline on it, serves the pushed model, and asks
the server over gRPC for recommendations to a reader of Chinese and to a reader of English. It takes
about 5 minutes on 2 cores. All files are kept in --out; a second call repeats only what changed.
"""

_CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
_QUERIES = {"zh": "想看看天文和星空的书", "en": "a book about ancient Rome and its emperors"}
_PRINTED_EVENTS = 4
_TIMEOUT_SECONDS = 30.0  # far longer than a call takes, even on a busy machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="runs/demo", metavar="DIR", help="directory of data and run (default: runs/demo)"
    )
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    if not _CONFIG.exists():
        raise TowersError(f"{_CONFIG}: not found. Run `towers demo` in a clone of the project.")
    config = config_loader.load(_CONFIG, arguments.set)
    from serving.client import RecommenderClient
    from serving.server.process import ServerProcess
    from tfx_pipeline import bookshop
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
            _print_recommendations(client, users.find_user(directory, user_id), language, titles)
    print(
        f"\nserve it:  towers serve --model_base_path {directory.serving(name)} --model_name {name}"
        f"\nask it:    towers recommend --run {directory.path} --user {user_id}"
    )
    return 0


def _print_recommendations(client: RecommenderClient, user: KnownUser, language: str, titles: dict[str, str]) -> None:
    """Prints recommendations to a user, and to a new user with the same profile who asks a question."""
    from tfx_pipeline.commands.recommend import lines

    print(f"\n{user.user_id} ({language}), last of {len(user.history)} events:")
    for event in user.history[-_PRINTED_EVENTS:]:
        print(f"      {event.item_id}  {titles[event.item_id]}  {event.text[:60]}")
    print("   recommended:")
    known = client.recommend(
        user_id=user.user_id, history=user.history, features=user.features, k=5, timeout=_TIMEOUT_SECONDS
    )
    print("\n".join(lines(known, titles)))
    print(f'   recommended to a new user who reads the same language and asks "{_QUERIES[language]}":')
    new = client.recommend(query=_QUERIES[language], features=user.features, k=5, timeout=_TIMEOUT_SECONDS)
    print("\n".join(lines(new, titles)))
