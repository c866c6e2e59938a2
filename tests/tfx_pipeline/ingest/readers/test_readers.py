import csv
import gzip
import io
import json
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.cells.times import time_parser
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.readers import UnreadableFileError, open_reader

# Any text but NUL, which this version's csv module cannot read, and surrogates, which are not text.
cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
tables = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(cell, min_size=width, max_size=width), max_size=8))


def read(path, columns, delimiter=","):
    """(good rows, broken rows as (position, reason, text))"""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    file = SourceFile("interactions", str(path), 0, suffixes[-1][1:], path.stat().st_size)
    reader = open_reader(file, columns, delimiter)
    good, broken = [], []
    for row in reader:
        if isinstance(row, str):
            broken.append((reader.position, row, reader.text()))
        else:
            good.append(row)
    assert reader.position == len(good) + len(broken)
    return good, broken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(tables, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from([",", "\t", ";"]), st.booleans())
def test_csv_reads_what_the_csv_module_writes(tmp_path, rows, quoting, delimiter, compressed):
    columns = [f"c{i}" for i in range(len(rows[0]) if rows else 2)]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, delimiter=delimiter).writerows([columns, *rows])
    path = tmp_path / ("t.csv.gz" if compressed else "t.csv")
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if compressed else content)
    good, broken = read(path, columns, delimiter)
    assert good == [tuple(row) for row in rows]
    assert not broken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.binary(max_size=300))
def test_csv_of_any_bytes_is_read_to_its_end(tmp_path, junk):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + junk.replace(b"\xff\xfe", b"") + b'\n"\n1,2\n')
    good, _ = read(path, ["a", "b"])
    assert good[-1] == ("1", "2")


def test_csv_columns_in_any_order_and_byte_order_mark(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfitem,user,extra\r\ni1,u1,x\r\n\r\ni2,u2,y")
    assert read(path, ["user", "item"]) == ([("u1", "i1"), ("u2", "i2")], [])


def test_a_broken_quote_costs_its_own_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        'a,b,text\n1,2,"never closed\n3,4,"good, ""quoted"""\n5,6,"two\nlines"\n7,8,"open at the end\n9,9,z\n'
    )
    good, broken = read(path, ["a", "text"])
    assert good == [("3", 'good, "quoted"'), ("5", "two\nlines"), ("9", "z")]
    assert broken == [
        (1, quarantine_reasons.UNCLOSED_QUOTE, '1,2,"never closed'),
        (4, quarantine_reasons.UNCLOSED_QUOTE, '7,8,"open at the end'),
    ]


def test_csv_rows_that_do_not_fit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\n1\n1,2,3\n"x\ny",2,3\n1,\x00\n1,2\n')
    good, broken = read(path, ["a", "b"])
    assert good == [("1", "\x01"), ("1", "2")]
    assert [(position, reason) for position, reason, _ in broken] == [
        (position, quarantine_reasons.WRONG_NUMBER_OF_FIELDS) for position in (1, 2, 3)
    ]
    assert broken[2][2] == '"x\ny",2,3'


def test_a_quote_that_swallows_a_large_file_is_noticed(tmp_path):
    path = tmp_path / "t.csv"
    line = f"1,{'x' * 99_990}\n"
    path.write_text('a,b\n1,"open\n' + line * 400)
    good, broken = read(path, ["a", "b"])
    assert len(good) == 400
    assert [reason for _, reason, _ in broken] == [quarantine_reasons.UNCLOSED_QUOTE]


def test_missing_column_is_named_with_the_nearest(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("usr_id,item,when\n1,2,3\n")
    with pytest.raises(
        UnreadableFileError, match=r"no column `user_id`; did you mean `usr_id`\? .* usr_id, item, when"
    ):
        read(path, ["user_id", "item"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"user,item\n" + b"1,2\n" * 5000)[:-20], "gzip"),
        (b"\x1f\x8bnot gzip at all", "gzip"),
    ],
    ids=["UTF-16", "gzip cut short", "gzip in its first bytes only"],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=message) as error:
        read(path, ["user", "item"])
    assert "\n" not in str(error.value)


json_values = st.one_of(st.text(st.characters(blacklist_categories=["Cs"])), st.integers(-(2**53), 2**53), st.none())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.fixed_dictionaries({"a": json_values}, optional={"b": json_values}), max_size=8))
def test_json_lines(tmp_path, rows):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert read(path, ["b", "a"]) == ([(row.get("b"), row["a"]) for row in rows], [])


def test_json_lines_that_do_not_fit(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"a": NaN}\n[1]\n\n{"a": 1\n{"a": "\xff"}\n{"a": 2}\n' + b"[" * 100_000)
    good, broken = read(path, ["a"])
    assert good[0][0] != good[0][0]
    assert good[1:] == [(2,)]
    assert [reason for _, reason, _ in broken] == [
        quarantine_reasons.INVALID_JSON,
        quarantine_reasons.INVALID_JSON,
        quarantine_reasons.INVALID_UTF8,
        quarantine_reasons.INVALID_JSON,
    ]
    assert broken[2][2] == r'{"a": "\xff"}'


def test_parquet_in_many_batches_with_times_and_gaps(tmp_path):
    path = tmp_path / "t.parquet"
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456)
    n = 20_000
    table = pa.table(
        {
            "unused": pa.array([0] * n),
            "time": pa.array([None] + [moment] * (n - 1), pa.timestamp("ns")),
            "user": pa.array(range(n), pa.int64()),
            "kind": pa.array(["x"] * n).dictionary_encode(),
        }
    )
    pq.write_table(table, path, row_group_size=7000)
    good, broken = read(path, ["user", "time", "kind", "user"])
    assert not broken
    assert [row[0] for row in good] == [row[3] for row in good] == list(range(n))
    assert good[0][1] is None
    expected = int(moment.replace(tzinfo=timezone.utc).timestamp()) * 10**6 + 123456
    assert time_parser("iso8601")(good[-1][1]) == expected


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "t.parquet"
    raw = pa.array([b"fine", b"\xff", None], pa.binary())
    pq.write_table(pa.table({"a": pa.StringArray.from_buffers(3, *raw.buffers()[1:], raw.buffers()[0])}), path)
    good, _ = read(path, ["a"])
    assert good == [("fine",), ("\udcff",), (None,)]


def test_not_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 is only how it begins")
    with pytest.raises(UnreadableFileError, match="Parquet"):
        read(path, ["a"])
