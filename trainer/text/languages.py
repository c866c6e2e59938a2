"""Guesses the language of a text by its script: Chinese, English, or another one."""

from __future__ import annotations

import numpy as np
import regex

CHINESE, ENGLISH, OTHER = "Chinese", "English (Latin letters)", "another script"
_HAN, _KANA = regex.compile(r"\p{Han}"), regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Hangul}]")
_LATIN, _LETTER = regex.compile(r"\p{Latin}"), regex.compile(r"\p{L}")
_LATIN_PER_HAN = 4  # number of Latin letters that count as much as one Chinese character


def language_of(text: str) -> str:
    """The language of most of a text: CHINESE, ENGLISH or OTHER; "" if it has no letters."""
    letters = len(_LETTER.findall(text))
    if not letters:
        return ""
    han, latin, kana = (len(pattern.findall(text)) for pattern in (_HAN, _LATIN, _KANA))
    other = letters - han - latin
    if kana and kana * 5 >= han:  # Japanese mixes kana and Han characters; `kana` includes Korean letters
        han, other = 0, other + han
    shares = {CHINESE: han, ENGLISH: latin / _LATIN_PER_HAN, OTHER: float(other)}
    return max(shares, key=lambda language: shares[language])


def languages(texts: np.ndarray) -> np.ndarray:
    """`language_of` each text: object (bytes, UTF-8) [n] -> object (str) [n]."""
    return np.array([language_of(text.decode("utf-8", errors="replace")) for text in texts], object)
