"""Broken rows of the built-in bookshop.

0.5 % of each table's rows are broken, in ten ways. A broken row does not affect the rows beside it:

| kind | table | defect |
|---|---|---|
| `unparsable_time` | interactions | the time is words, or a day that does not exist |
| `missing_user_id` | interactions | empty |
| `missing_item_id` | interactions | empty |
| `wrong_number_of_fields` | interactions | the row is cut short, or has two fields too many |
| `rating_not_a_number` | interactions | `five`, `★★★★` |
| `invalid_utf8` | interactions | bytes of another encoding in the review |
| `control_character_in_id` | interactions | a NUL or another control character in the user's or item's id |
| `duplicate_item` | items | an item's row is repeated with another price |
| `item_without_id` | items | all columns but the id, which is empty |
| `duplicate_user` | users | a user's row is repeated with another age band |

Broken interactions replace good rows (rows = `events`); broken items and users are additional rows.
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
    """`{row: kind}` for BROKEN_RATE of the rows: evenly spread, all kinds equally often."""
    count = round(BROKEN_RATE * rows)
    if not count:
        return {}
    stride = rows / count
    broken = np.floor((np.arange(count) + random.random(count)) * stride).astype(np.int64)
    order = np.concatenate([random.permutation(len(kinds)) for _ in range(-(-count // len(kinds)))])
    return {row: kinds[kind] for row, kind in zip(broken.tolist(), order[:count].tolist(), strict=True)}


def damaged_line(fields: list[str], kind: str, row: int) -> bytes:
    """The line of a good row, damaged in the way `kind`. `row` chooses between a kind's variants."""
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
        # An older encoding of Chinese, as old shop systems export it; none of its bytes is a quote or a comma.
        foreign = "好书，值得一读".encode("gb18030") + b"\xff"
        return ",".join([user_id, item_id, time, event, device, "", "", ""]).encode() + foreign + b"\n"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(fields)
    # The csv module refuses to write a NUL.
    return text.getvalue().encode().replace(b"\x01", b"\x00")
