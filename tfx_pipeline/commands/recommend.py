"""`towers recommend`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from serving.client import Recommendation, RecommendationList, RecommenderClient, Retry, Tls, UserRequest
from trainer.errors import UsageError

EPILOG = """\
example:
  towers recommend --server 127.0.0.1:8500 --history book-00012 --history book-00407 --query "deep-sea diving"
  towers recommend --server 127.0.0.1:8500 --run runs/demo/run --user reader-00012
  towers recommend --server models:8500 --tls_ca ca.pem --version_label canary --user 7 --user 8 --json

With --run, a user's history and profile come from what that run ingested, and titles are shown. --json prints one line
a user, as `towers predict` writes them: user_id, item_ids, scores; and the model's version, and whether these are the
fallback's items.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def one_of_many(flag: str, metavar: str, text: str) -> None:
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")

    one_of_many("--user", "ID", "who; somebody unknown if left out")
    parser.add_argument("--query", default="", help="what the user says now")
    one_of_many("--history", "ITEM", "an item id, oldest first")
    one_of_many("--exclude", "ITEM", "never recommend this item")
    one_of_many("--category", "NAME", "recommend items of this category only")
    one_of_many("--feature", "NAME=VALUE", "profile or context input")
    parser.add_argument(
        "--diversity", type=_share, default=0.0, metavar="0..1", help="0: the best items, 1: mixed ones"
    )
    parser.add_argument(
        "--k", type=_positive, default=10, metavar="N", help="items for each user (default: %(default)s)"
    )
    parser.add_argument("--signature", choices=["recommend", "retrieve"], default="recommend")
    parser.add_argument("--run", default=None, metavar="DIR", help="a run's directory")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, one for each user")
    parser.add_argument("--key_env", default=None, metavar="NAME", help="variable with the key for pseudonyms")
    parser.add_argument("--key_file", default=None, metavar="FILE", help="file with the key for pseudonyms")
    server = parser.add_argument_group("the server")
    server.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="gRPC address of the server")
    server.add_argument("--model_name", default="recommender")
    server.add_argument("--version_label", default=None, metavar="LABEL", help="of the model; the latest if left out")
    server.add_argument(
        "--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="for the whole call (default: %(default)s)"
    )
    server.add_argument(
        "--retries",
        type=_count,
        default=2,
        metavar="N",
        help="further attempts while the server is unavailable (default: %(default)s)",
    )
    server.add_argument(
        "--fallback", default=None, metavar="FILE", help="item ids, one a line, to show if no model answers in time"
    )
    server.add_argument("--tls", action="store_true", help="connect by TLS; every flag below does too")
    server.add_argument("--tls_ca", default=None, metavar="FILE", help="PEM: who signs servers' certificates")
    server.add_argument("--tls_key", default=None, metavar="FILE", help="PEM: the client's key, for mutual TLS")
    server.add_argument("--tls_certificate", default=None, metavar="FILE", help="PEM: the client's certificate")
    server.add_argument("--tls_server_name", default=None, metavar="NAME", help="the name in the server's certificate")


def run(arguments: argparse.Namespace) -> int:
    users = arguments.user or [""]
    if len(users) > 1 and arguments.history:
        raise UsageError("--history is one user's: give one --user with it, or a --run that knows each user's")
    tls = _tls(arguments)
    features = dict(_feature(text) for text in arguments.feature)
    known: Mapping[str, Any] = {}
    titles: dict[str, str] = {}
    if arguments.run:
        from tfx_pipeline.runs.run_directory import RunDirectory
        from tfx_pipeline.runs.users import find_user, item_titles

        directory = RunDirectory(arguments.run)
        titles = item_titles(directory)
        if not arguments.history:
            known = {user: find_user(directory, user) for user in users if user}
    requests = [
        UserRequest(
            user_id=user,
            history=known[user].history if user in known else arguments.history,
            query=arguments.query,
            exclude=arguments.exclude,
            allowed_categories=arguments.category,
            diversity=arguments.diversity,
            features={**(known[user].features if user in known else {}), **features},
        )
        for user in users
    ]
    with RecommenderClient(
        arguments.server,
        arguments.model_name,
        timeout=arguments.timeout,
        version_label=arguments.version_label,
        retry=Retry(attempts=1 + arguments.retries),
        tls=tls,
        fallback=arguments.fallback,
        pseudonym_key_env=arguments.key_env,
        pseudonym_key_file=arguments.key_file,
    ) as client:
        answers = client.recommend_many(requests, k=arguments.k, signature=arguments.signature)
    for user, found in zip(users, answers, strict=True):
        if arguments.json:
            print(json.dumps(_record(user, found), ensure_ascii=False))
            continue
        if len(users) > 1:
            print(f"{user or '(unknown)'}:")
        for line in lines(found, titles):
            print(line)
    if answers[0].failure is not None:
        print(f"towers: no model answered, these are the fallback's items: {answers[0].failure}", file=sys.stderr)
    return 0


def lines(found: Sequence[Recommendation], titles: Mapping[str, str]) -> list[str]:
    """A list of recommendations for a terminal; a title that is the id itself is not said twice."""
    shown = []
    for place, item in enumerate(found, 1):
        title = titles.get(item.item_id, "")
        if title == item.item_id:
            title = ""
        shown.append(f"{place:>4}  {item.score:>8.3f}  {item.item_id}  {title}".rstrip())
    return shown


def _record(user: str, found: RecommendationList) -> dict[str, Any]:
    return {
        "user_id": user,
        "item_ids": [item.item_id for item in found],
        "scores": [item.score for item in found],
        "version": found.version,
        "fallback": found.is_fallback,
    }


def _tls(arguments: argparse.Namespace) -> Tls | None:
    if (arguments.tls_key is None) != (arguments.tls_certificate is None):
        raise UsageError("--tls_key and --tls_certificate go together: mutual TLS takes both")
    files = (arguments.tls_ca, arguments.tls_key, arguments.tls_certificate, arguments.tls_server_name)
    return Tls(*files) if arguments.tls or any(files) else None


def _feature(text: str) -> tuple[str, str | float]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--feature should be NAME=VALUE. Received: {text!r}")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _number(text: str, kind: type[int] | type[float], least: float, most: float, rule: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"should be {rule}. Received: {text!r}")
    return number


def _positive(text: str) -> int:
    return _number(text, int, 1, math.inf, "a positive integer")


def _count(text: str) -> int:
    return _number(text, int, 0, math.inf, "0 or a positive integer")


def _seconds(text: str) -> float:
    return _number(text, float, 1e-3, 1e9, "positive seconds")


def _share(text: str) -> float:
    return _number(text, float, 0, 1, "from 0 to 1")
