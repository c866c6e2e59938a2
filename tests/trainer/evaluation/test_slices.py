from __future__ import annotations

import numpy as np

from tests.trainer import tables
from trainer.data.tables import SequenceTable
from trainer.evaluation.slices import Slice, slices
from trainer.evaluation.targets import targets_of

ITEMS = tables.item_table(4, np.array([0, 5, 6, 700]))


def by_kind(sequences: SequenceTable, train: SequenceTable | None = None, **options: object) -> dict[str, list[Slice]]:
    settings = {"clock": False, **options}
    result: dict[str, list[Slice]] = {}
    for part in slices(ITEMS, sequences, train, targets_of(sequences), **settings):  # type: ignore[arg-type]
        result.setdefault(part.by, []).append(part)
    return result


def counts(parts: list[Slice]) -> dict[str, int]:
    return {part.name: int(part.targets.sum()) for part in parts}


def test_by_history_and_popularity() -> None:
    sequences = tables.sequence_table([[1] * 4 + [2], [1] * 5 + [3], [2] * 120 + [4], [3]], targets=1)
    parts = by_kind(sequences)
    assert counts(parts["history"]) == {"at most 4 events": 2, "5 to 9 events": 1, "100 events or more": 1}
    assert counts(parts["popularity of the item"]) == {
        "at most 5 train events": 1,
        "6 to 20 train events": 2,
        "501 train events or more": 1,
    }


def test_every_target_is_in_one_slice_of_each_kind() -> None:
    generator = np.random.default_rng(1)
    rows = [list(generator.integers(1, 5, generator.integers(2, 60))) for _ in range(50)]
    events = sum(map(len, rows))
    sequences = tables.sequence_table(
        rows,
        targets=2,
        text_row=generator.integers(-1, 3, events).astype(np.int32),
        context={"device": generator.integers(0, 30, events).astype(np.int32)},
        profile={"language": generator.integers(0, 3, 50).astype(np.int32)},
        names={"profile_language": ["zh", "en"]},
    )
    parts = by_kind(sequences, tables.sequence_table(rows[:20]), clock=True)
    assert list(parts) == [
        "history",
        "popularity of the item",
        "user",
        "own text",
        "profile: language",
        "context: device",
        "time",
    ]
    for kind in parts.values():
        np.testing.assert_array_equal(sum(part.targets.astype(int) for part in kind), 1)
    assert {part.name for part in parts["profile: language"]} == {"none or unknown", "zh", "en"}
    assert len(parts["context: device"]) == 9
    assert parts["context: device"][-1].name == "others"
    assert counts(parts["user"]).keys() == {"not in training", "in training"}


def test_context_and_time_are_those_of_the_target() -> None:
    sequences = tables.sequence_table(
        [[1, 2, 3], [4, 3, 1]],
        targets=2,
        timestamp=np.array([0, 86_400, 172_800, 0, 864_000, 864_000], np.int64),
        context={"device": np.array([2, 1, 1, 2, 1, 2], np.int32)},
        names={"context_device": ["phone", "desk"]},
    )
    parts = by_kind(sequences, clock=True)
    assert counts(parts["context: device"]) == {"phone": 3, "desk": 1}
    assert [part.name for part in parts["time"]] == [
        "1970-01-02 to 1970-01-02",
        "1970-01-03 to 1970-01-03",
        "1970-01-11 to 1970-01-11",
    ]


def test_language_slices_use_texts_before_the_targets() -> None:
    languages = np.array(["Chinese", "English", ""], object)
    rows = [[1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 2], [1, 2]]
    texts = [0, 2, 1, 0, 1, 1, 0, 2, -1, 2, 1, 2, 0]
    sequences = tables.sequence_table(rows, targets=1, text_row=np.array(texts, np.int32))
    parts = by_kind(sequences, languages=languages)
    assert counts(parts["language of own text"]) == {"Chinese": 1, "English": 1}
    assert list(np.flatnonzero(parts["language of own text"][1].targets)) == [1]
    assert "language of own text" not in by_kind(sequences)


def test_one_value_is_no_slice_and_no_users_have_none() -> None:
    sequences = tables.sequence_table([[1, 2]], targets=1, profile={"age": np.array([1], np.int32)})
    assert by_kind(sequences) == {}
    assert by_kind(tables.sequence_table([[]]), clock=True) == {}


def test_periods_within_a_day_have_names_of_their_own() -> None:
    sequences = tables.sequence_table([[1, 2]] * 8, targets=1, timestamp=np.arange(16, dtype=np.int64) * 60)
    names = [part.name for part in by_kind(sequences, clock=True)["time"]]
    assert len(set(names)) == len(names) == 4
