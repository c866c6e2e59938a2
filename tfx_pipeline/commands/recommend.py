"""`towers recommend`."""

from __future__ import annotations

import argparse

from serving.client import HistoryEvent, Recommendation, RecommenderClient
from trainer.errors import UsageError

EPILOG = """\
example:
  towers recommend --server 127.0.0.1:8500 --history book-00012 --history book-00407 --query "deep-sea diving"
  towers recommend --server 127.0.0.1:8500 --run runs/demo/run --user reader-00012

With --run, a user's history and profile come from what that run ingested, and titles are shown.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="gRPC address of the server")
    parser.add_argument("--model_name", default="recommender")
    parser.add_argument("--user", default="", metavar="ID")
    parser.add_argument("--query", default="", help="what the user says now")
    parser.add_argument("--history", action="append", default=[], metavar="ITEM", help="an item id, oldest first")
    parser.add_argument("--exclude", action="append", default=[], metavar="ITEM", help="never recommend this item")
    parser.add_argument("--feature", action="append", default=[], metavar="NAME=VALUE", help="profile or context input")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--signature", choices=["recommend", "retrieve"], default="recommend")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--run", default=None, metavar="DIR", help="a run's directory")
    parser.add_argument("--key_env", default=None, metavar="NAME", help="variable with the key for pseudonyms")
    parser.add_argument("--key_file", default=None, metavar="FILE", help="file with the key for pseudonyms")


def run(arguments: argparse.Namespace) -> int:
    history: list[HistoryEvent] = [HistoryEvent(item_id) for item_id in arguments.history]
    features: dict[str, str | float] = dict(_feature(text) for text in arguments.feature)
    titles: dict[str, str] = {}
    if arguments.run:
        from tfx_pipeline import known_users
        from tfx_pipeline.run_directory import RunDirectory

        directory = RunDirectory(arguments.run)
        titles = known_users.titles(directory)
        if arguments.user and not history:
            known = known_users.find(directory, arguments.user)
            history, features = known.history, {**known.features, **features}
    with RecommenderClient(
        arguments.server,
        arguments.model_name,
        timeout=arguments.timeout,
        pseudonym_key_env=arguments.key_env,
        pseudonym_key_file=arguments.key_file,
    ) as client:
        found = client.recommend(
            user_id=arguments.user,
            history=history,
            query=arguments.query,
            exclude=arguments.exclude,
            features=features,
            k=arguments.k,
            signature=arguments.signature,
        )
    for line in lines(found, titles):
        print(line)
    return 0


def lines(found: list[Recommendation], titles: dict[str, str]) -> list[str]:
    """A list of recommendations for a terminal."""
    return [
        f"{place:>4}  {item.score:>8.3f}  {item.item_id}  {titles.get(item.item_id, '')}".rstrip()
        for place, item in enumerate(found, 1)
    ]


def _feature(text: str) -> tuple[str, str | float]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--feature should be NAME=VALUE. Received: {text!r}")
    try:
        return name, float(value)
    except ValueError:
        return name, value
