"""Choice of readers for the demo."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

from tfx_pipeline.bookshop.tables import INTERACTION_COLUMNS, INTERACTIONS, USERS
from trainer.errors import TowersError

_QUERY, _REVIEW = INTERACTION_COLUMNS.index("query"), INTERACTION_COLUMNS.index("review")


def example_users(directory: str | os.PathLike) -> dict[str, str]:
    """One reader of each language in data that `tables.write` wrote: the one with the most reviews and queries.

    Returns:
      `{"zh": user_id, "en": user_id}`; a language that nobody reads (in a tiny shop) is left out.

    Raises:
      TowersError: the tables are not there.
    """
    directory = Path(directory)
    try:
        with open(directory / USERS, encoding="utf-8", newline="") as file:
            language_of = {row["user_id"]: row["language"] for row in csv.DictReader(file)}
        text_counts: Counter[str] = Counter()
        with open(directory / INTERACTIONS, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(line.replace("\0", "") for line in file):
                if len(row) == len(INTERACTION_COLUMNS) and row[0] in language_of:
                    text_counts[row[0]] += bool(row[_QUERY]) + bool(row[_REVIEW])
    except OSError as error:
        raise TowersError(
            f"{error.filename}: cannot read the built-in data ({error.strerror}). "
            f"Write it with `towers data demo --out {directory}`."
        ) from None
    examples = {}
    for language in ("zh", "en"):
        readers = [user for user, reads in language_of.items() if reads == language]
        if readers:
            examples[language] = min(readers, key=lambda user: (-text_counts[user], user))
    return examples
