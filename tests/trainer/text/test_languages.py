from __future__ import annotations

import numpy as np
import pytest

from trainer.text.languages import CHINESE, ENGLISH, OTHER, language_of, languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a good read", ENGLISH),
        ("Élégant", ENGLISH),
        ("这本书很好看", CHINESE),
        ("這本書 by Lu Xun 很好看", CHINESE),
        ("The novel 活着 by Yu Hua is a classic of our time", ENGLISH),
        ("とても面白い本です", OTHER),
        ("хорошая книга", OTHER),
        ("كتاب جيد", OTHER),
        ("12345 !!! 👍", ""),
        ("", ""),
    ],
)
def test_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_languages_of_bytes() -> None:
    assert list(languages(np.array(["好".encode(), b"good", b"\xff"], object))) == [CHINESE, ENGLISH, ""]
