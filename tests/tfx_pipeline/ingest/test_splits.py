import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.ingest import user_sequence
from tfx_pipeline.ingest.splits import Splitter
from trainer.config import SplitConfig
from trainer.errors import UsageError

pytestmark = pytest.mark.slow

ascending = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(sorted)
leave_one_out = st.builds(Splitter, kind=st.just("leave_one_out"), test=st.booleans())
by_time = st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda p: Splitter("time", True, p[0], p[0] + p[1]))
# (item, time) pairs in file order
records = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=1, max_size=25).map(
    lambda pairs: [(b"u", time, order, f"i{item}".encode(), order) for order, (item, time) in enumerate(pairs)]
)


@given(st.one_of(leave_one_out, by_time), ascending)
def test_every_event_is_in_one_split_and_no_target_in_its_own_history(splitter, moments):
    cuts = splitter.cuts(moments)
    owned = []
    for cut in cuts:
        assert 0 <= cut.target_count <= cut.length <= len(moments)
        owned += range(0 if cut.split == "train" else cut.length - cut.target_count, cut.length)
    assert owned == list(range(len(moments)))
    assert [cut.split for cut in cuts] == [name for name in splitter.names if name in {cut.split for cut in cuts}]


@given(by_time, ascending)
def test_time_split_goes_by_the_dates(splitter, moments):
    for cut in splitter.cuts(moments):
        history = moments[: cut.length - cut.target_count]
        targets = moments[cut.length - cut.target_count : cut.length]
        if cut.split == "train":
            assert all(moment < splitter.validation_from for moment in history)
        elif cut.split == "validation":
            assert all(moment < splitter.validation_from for moment in history)
            assert all(splitter.validation_from <= moment < splitter.test_from for moment in targets)
        else:
            assert all(moment < splitter.test_from for moment in history)
            assert all(moment >= splitter.test_from for moment in targets)


@given(ascending, st.booleans())
def test_leave_one_out(moments, test):
    cuts = Splitter("leave_one_out", test).cuts(moments)
    n = len(moments)
    if n < 3:
        assert cuts == [("train", n, 0)]
    elif test:
        assert cuts == [("train", n - 2, 0), ("validation", n - 1, 1), ("test", n, 1)]
    else:
        assert cuts == [("train", n - 1, 0), ("validation", n, 1)]


@given(records, st.randoms(), st.sampled_from(["earliest", "all"]))
def test_sequences_are_chronological_whatever_order_rows_arrive_in(events, random, repeats):
    shuffled = list(events)
    random.shuffle(shuffled)
    sequence = user_sequence.build(b"u", shuffled, repeats)
    place = list(zip(sequence.time, sequence.features[0], strict=True))  # the feature is the file order
    assert place == sorted(place)
    if repeats == "all":
        assert len(place) == len(events)
    else:
        assert len(set(sequence.item_id)) == len(sequence.item_id)
        for item, first in zip(sequence.item_id, place, strict=True):
            assert first == min((event[1], event[2]) for event in events if event[3] == item)


def test_dates_as_the_time_column_has_them():
    split = SplitConfig(kind="time", validation_from="2024-01-01T00:00:00Z", test_from="2024-02-01T00:00:00+08:00")
    splitter = Splitter.from_config(split, "iso8601")
    assert (splitter.validation_from, splitter.test_from) == (1704067200 * 10**6, 1706716800 * 10**6)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (("2024-01-01", "2024-02-01T00:00:00Z"), "validation_from"),
        (("2024-02-01T00:00:00Z", "2024-01-01T00:00:00Z"), "before"),
    ],
)
def test_dates_that_cannot_work(dates, message):
    split = SplitConfig(kind="time", validation_from=dates[0], test_from=dates[1])
    with pytest.raises(UsageError, match=message):
        Splitter.from_config(split, "iso8601")
