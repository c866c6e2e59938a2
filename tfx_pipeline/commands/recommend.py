"""`towers recommend`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.client import Recommendation, RecommendationList, RecommenderClient, Retry, Tls, UserRequest
from trainer.errors import UsageError

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and most calls do not need it
    from tfx_pipeline.runs.users import KnownUser

EPILOG = """\
example:
  towers recommend --server 127.0.0.1:8500 --history book-00012 --query "deep-sea diving"
  towers recommend --server 127.0.0.1:8500 --run runs/demo/run --user reader-00012
  towers recommend --server models:8500 --tls_ca ca.pem --version_label canary --user 7 --json

With --run, the history and profile of a user come from the data of that run, and titles are printed.
With --json, each user gets one line with user_id, item_ids and scores, as `towers predict` writes
them, and also the version of the model and whether the items come from --fallback.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def repeatable(flag: str, metavar: str, text: str) -> None:
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")

    repeatable("--user", "ID", "user id (default: a new user)")
    parser.add_argument("--query", default="", metavar="TEXT", help="what the user asks for")
    repeatable("--history", "ITEM", "id of an item in the user's history, the oldest first")
    repeatable("--exclude", "ITEM", "id of an item not to recommend")
    repeatable("--category", "NAME", "recommend only items of this category")
    repeatable("--feature", "NAME=VALUE", "another input of the model, such as a profile column")
    parser.add_argument(
        "--diversity", type=_share, default=0.0, metavar="0..1", help="0: the best items, 1: the most different ones"
    )
    parser.add_argument(
        "--k", type=_positive, default=10, metavar="N", help="items for each user (default: %(default)s)"
    )
    parser.add_argument(
        "--signature", choices=["recommend", "retrieve"], default="recommend", help="retrieve: without ranking model"
    )
    parser.add_argument("--run", default=None, metavar="DIR", help="directory of a finished run that knows the users")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each user")
    parser.add_argument(
        "--key_env", default=None, metavar="NAME", help="environment variable with the key for pseudonyms"
    )
    parser.add_argument("--key_file", default=None, metavar="FILE", help="file with the key for pseudonyms")
    server = parser.add_argument_group("the server")
    server.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="gRPC address of the server")
    server.add_argument("--model_name", default="recommender", metavar="NAME", help="default: recommender")
    server.add_argument(
        "--version_label", default=None, metavar="LABEL", help="label of a model version (default: the latest version)"
    )
    server.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="limit for the whole call, with all its attempts (default: %(default)s)",
    )
    server.add_argument(
        "--retries",
        type=_count,
        default=2,
        metavar="N",
        help="further attempts if the server is unavailable (default: %(default)s)",
    )
    server.add_argument(
        "--fallback", default=None, metavar="FILE", help="item ids, one a line, to print if no model answers in time"
    )
    server.add_argument("--tls", action="store_true", help="connect by TLS; implied by the options below")
    server.add_argument("--tls_ca", default=None, metavar="FILE", help="PEM: certificates of trusted authorities")
    server.add_argument("--tls_key", default=None, metavar="FILE", help="PEM: the client's key, for mutual TLS")
    server.add_argument("--tls_certificate", default=None, metavar="FILE", help="PEM: the client's certificate")
    server.add_argument("--tls_server_name", default=None, metavar="NAME", help="the name in the server's certificate")


def run(arguments: argparse.Namespace) -> int:
    tls = _tls(arguments)
    requests, titles = _requests(arguments)
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
    for request, answer in zip(requests, answers, strict=True):
        if arguments.json:
            print(json.dumps(_record(request.user_id, answer), ensure_ascii=False))
            continue
        if len(requests) > 1:
            print(f"{request.user_id or '(new user)'}:")
        for line in lines(answer, titles):
            print(line)
    if answers[0].failure is not None:
        print(f"towers: no model answered, the items come from --fallback: {answers[0].failure}", file=sys.stderr)
    return 0


def _requests(arguments: argparse.Namespace) -> tuple[list[UserRequest], dict[str, str]]:
    """(a request for each --user, titles of items by id).

    Raises:
      UsageError: the options contradict each other.
      TowersError: --run does not know a user.
    """
    user_ids = arguments.user or [""]
    if len(user_ids) > 1 and arguments.history:
        raise UsageError("--history is of one user: give one --user with it, or a --run that knows each user's history")
    features = dict(_feature(text) for text in arguments.feature)
    known: dict[str, KnownUser] = {}
    titles: dict[str, str] = {}
    if arguments.run:
        from tfx_pipeline.runs.run_directory import RunDirectory
        from tfx_pipeline.runs.users import find_user, item_titles

        directory = RunDirectory(arguments.run)
        titles = item_titles(directory)
        if not arguments.history:
            known = {user_id: find_user(directory, user_id) for user_id in user_ids if user_id}
    requests = [
        UserRequest(
            user_id=user_id,
            history=known[user_id].history if user_id in known else arguments.history,
            query=arguments.query,
            exclude=arguments.exclude,
            allowed_categories=arguments.category,
            diversity=arguments.diversity,
            features={**(known[user_id].features if user_id in known else {}), **features},
        )
        for user_id in user_ids
    ]
    return requests, titles


def lines(items: Sequence[Recommendation], titles: Mapping[str, str]) -> list[str]:
    """Recommendations as lines for a terminal: rank, score, id and, unless it equals the id, title."""
    text = []
    for rank, item in enumerate(items, 1):
        title = titles.get(item.item_id, "")
        if title == item.item_id:
            title = ""
        text.append(f"{rank:>4}  {item.score:>8.3f}  {item.item_id}  {title}".rstrip())
    return text


def _record(user_id: str, answer: RecommendationList) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "item_ids": [item.item_id for item in answer],
        "scores": [item.score for item in answer],
        "version": answer.version,
        "fallback": answer.is_fallback,
    }


def _tls(arguments: argparse.Namespace) -> Tls | None:
    if (arguments.tls_key is None) != (arguments.tls_certificate is None):
        raise UsageError("--tls_key and --tls_certificate go together: mutual TLS needs both")
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


def _number(text: str, kind: type[int] | type[float], minimum: float, maximum: float, rule: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not minimum <= number <= maximum:
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
