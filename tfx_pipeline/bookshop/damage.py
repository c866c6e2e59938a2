"""Broken rows for the built-in bookshop.

0.5 % of each table's rows are broken, in these ten ways; each row stands alone and harms none beside it:

| kind | table | what is wrong |
|---|---|---|
| `unparsable_time` | interactions | the time is words, or a day that does not exist |
| `missing_user_id` | interactions | empty |
| `missing_item_id` | interactions | empty |
| `wrong_number_of_fields` | interactions | the row is cut short, or has two fields too many |
| `rating_not_a_number` | interactions | `five`, `★★★★` |
| `invalid_utf8` | interactions | bytes of another encoding in the review |
| `control_character_in_id` | interactions | a NUL or another control character in the user's or item's id |
| `duplicate_item` | items | an item's row once more, with another price |
| `item_without_id` | items | a title and all, but the id is empty |
| `duplicate_user` | users | a user's row once more, with another age band |

Broken interactions stand where a good row would have stood (rows = `events`); broken items and users are additional.
"""

from __future__ import annotations

import csv
import io

import numpy as np

BROKEN_RATE = 0.005
BROKEN_INTERACTIONS = (
    "unparsable_time",
    "missing_user_id",
    "missing_item_id",
    "wrong_number_of_fields",
    "rating_not_a_number",
    "invalid_utf8",
    "control_character_in_id",
)
BROKEN_ITEMS = ("duplicate_item", "item_without_id")
BROKEN_USERS = ("duplicate_user",)


def broken_rows(rows: int, kinds: tuple[str, ...], random: np.random.Generator) -> dict[int, str]:
    """`{row: kind}` for BROKEN_RATE of the rows: evenly spread, every kind as often as any other."""
    count = round(BROKEN_RATE * rows)
    if not count:
        return {}
    stride = rows / count
    places = np.floor((np.arange(count) + random.random(count)) * stride).astype(np.int64)
    order = np.concatenate([random.permutation(len(kinds)) for _ in range(-(-count // len(kinds)))])
    return {place: kinds[kind] for place, kind in zip(places.tolist(), order[:count].tolist(), strict=True)}


def damaged(fields: list[str], kind: str, row: int) -> bytes:
    """The line of a good row after what `kind` does to it. `row` chooses between a kind's variants."""
    user_id, item_id, time, event, device, _, query, _ = fields
    variant = row % 2
    if kind == "unparsable_time":
        fields[2] = ("yesterday evening", f"2025-02-30{time[10:]}")[variant]
    elif kind == "missing_user_id":
        fields[0] = ""
    elif kind == "missing_item_id":
        fields[1] = ""
    elif kind == "wrong_number_of_fields":
        fields = ([user_id, item_id, time], [*fields, query, device])[variant]
    elif kind == "rating_not_a_number":
        fields[5] = ("five", "★★★★")[variant]
    elif kind == "control_character_in_id":
        fields[variant] = fields[variant][:-2] + ("\x01", "\x1b")[variant] + fields[variant][-2:]
    if kind == "invalid_utf8":
        # Chinese of another era, as old shop systems export it; no quotes or commas among its bytes.
        foreign = "好书，值得一读".encode("gb18030") + b"\xff"
        return ",".join([user_id, item_id, time, event, device, "", "", ""]).encode() + foreign + b"\n"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(fields)
    # The csv module refuses to write a NUL.
    return text.getvalue().encode().replace(b"\x01", b"\x00")
