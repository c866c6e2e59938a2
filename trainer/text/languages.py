"""Which of the languages that this package reads a text is in, by its letters."""

from __future__ import annotations

import numpy as np
import regex

CHINESE, ENGLISH, OTHER = "Chinese", "English (Latin letters)", "another script"
_HAN, _KANA = regex.compile(r"\p{Han}"), regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Hangul}]")
_LATIN, _LETTER = regex.compile(r"\p{Latin}"), regex.compile(r"\p{L}")
_WORD = 4  # Latin letters that say as much as one Chinese character


def language_of(text: str) -> str:
    """CHINESE, ENGLISH, OTHER, or "" of a text without letters: what most of it is, words counted alike."""
    letters = len(_LETTER.findall(text))
    if not letters:
        return ""
    han, latin, kana = (len(pattern.findall(text)) for pattern in (_HAN, _LATIN, _KANA))
    other = letters - han - latin
    if kana and kana * 5 >= han:  # Japanese is written with both
        han, other = 0, other + han
    amounts = {CHINESE: han, ENGLISH: latin / _WORD, OTHER: float(other)}
    return max(amounts, key=lambda language: amounts[language])


def languages(texts: np.ndarray) -> np.ndarray:
    """Of each text, object (bytes, UTF-8) [n]: object (str) [n]."""
    return np.array([language_of(text.decode("utf-8", errors="replace")) for text in texts], object)
