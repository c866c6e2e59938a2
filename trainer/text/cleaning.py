"""Cleaning of raw text as TensorFlow ops: the same in Beam, in TensorFlow Transform and in the served graph.

Every op is in TensorFlow's core or is `NormalizeUTF8`, which stock TensorFlow Serving links.

The order of the steps makes cleaning idempotent: no step may create a match for an earlier one. Steps that remove
characters without a trace therefore come first, and all later ones leave a space where they remove something.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

CLEANING_VERSION = "1"  # part of every encoder's fingerprint: raise it when the output of `clean` changes
MAX_CHARACTERS = 10_000  # more than any encoder reads; bounds the work of the regular expressions on long texts

_MAX_BYTES = 4 * MAX_CHARACTERS  # UTF-8 needs at most 4 bytes a character
_SPACE = ord(" ")

# Format characters (zero-width, direction marks, soft hyphen, ...) and variation selectors.
_INVISIBLE = r"[\p{Cf}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]+"
_BLANK = r"[\p{Cc}\p{Z}\x{FFFD}]+"

# RE2 has no back-references in patterns, so each mark needs a group. A rewrite can refer to nine groups at most, so the
# eighteen marks need two patterns.
_REPEATED_MARKS = ("!?.,-_*=~", "#$%^+|;:。")

# "&amp;lt;" is "<" encoded twice, so ampersands are decoded first.
_AMPERSAND = r"(?i)&(?:amp;|#0*38;|#x0*26;)+"
_DECODED = (
    (r"(?i)&(?:lt|#0*60|#x0*3c);", "<"),
    (r"(?i)&(?:gt|#0*62|#x0*3e);", ">"),
    (r"(?i)&(?:quot|#0*34|#x0*22);", '"'),
    (r"(?i)&(?:apos|#0*39|#x0*27);", "'"),
)
_OTHER_ENTITY = r"&(?:[A-Za-z]{2,8}[0-9]{0,2}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"

# Only HTML's own names are tags: "a < b", "<3" and "<小明>" are text. "<" may follow the name, so that removing an
# inner tag does not leave a complete outer one.
_TAG_NAMES = (
    "a|abbr|article|aside|audio|b|big|blockquote|body|br|button|center|code|dd|del|div|dl|dt|em|embed|figure|font|"
    "footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|meta|nav|object|ol|option|p|"
    "param|pre|q|s|script|section|select|small|source|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|"
    "tfoot|th|thead|title|tr|tt|u|ul|video"
)
_TAG = rf"(?i)</?(?:{_TAG_NAMES})(?:[\s/<][^>]*)?>"

_URL = r"(?i)(?:(?:https?|ftp)://|www\.)[-A-Za-z0-9._~:/?#@!$&()*+,;=%\[\]]+"
_EMAIL = r"[-A-Za-z0-9._%+]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"


def _single_marks(marks: str) -> tuple[str, str]:
    """Pattern and rewrite that replace a run of one mark by a single one, for up to nine marks."""
    escaped = [rf"\x{{{ord(mark):X}}}" for mark in marks]
    pattern = "|".join(f"({mark}){mark}+" for mark in escaped)
    rewrite = "".join(rf"\{group}" for group in range(1, len(marks) + 1))
    return pattern, rewrite


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Cleans raw texts: one line, NFKC, no markup.

    Invalid UTF-8 and control characters become spaces, invisible characters are removed, and NFKC is applied, which
    turns full-width characters into half-width ones. A run of one punctuation mark becomes a single mark. HTML entities
    for & < > " ' are decoded, others become a space. URLs and e-mail addresses become `url` and `email`, HTML tags
    become a space. White space is collapsed, and at most `MAX_CHARACTERS` characters remain. Letter case is left to the
    tokenizer. `clean(clean(x))` equals `clean(x)`.

    Args:
      texts: string, any shape; may be invalid UTF-8.

    Returns:
      string, of the same shape, valid UTF-8.
    """
    replace = tf.strings.regex_replace
    texts = tf.strings.substr(texts, 0, _MAX_BYTES)
    texts = tf.strings.unicode_transcode(
        texts, "UTF-8", "UTF-8", errors="replace", replacement_char=_SPACE, replace_control_characters=True
    )
    texts = replace(texts, _INVISIBLE, "")
    texts = replace(texts, _BLANK, " ")
    texts = tf_text.normalize_utf8(texts, "NFKC")
    texts = tf.strings.substr(texts, 0, MAX_CHARACTERS, unit="UTF8_CHAR")  # NFKC makes texts up to 18 times longer
    for marks in _REPEATED_MARKS:
        texts = replace(texts, *_single_marks(marks))
    texts = replace(texts, _AMPERSAND, "&")
    for pattern, character in _DECODED:
        texts = replace(texts, pattern, character)
    texts = replace(texts, _OTHER_ENTITY, " ")
    texts = replace(texts, _URL, " url ")
    texts = replace(texts, _EMAIL, " email ")
    texts = replace(texts, _TAG, " ")
    texts = tf.strings.strip(replace(texts, " +", " "))
    return tf.strings.strip(tf.strings.substr(texts, 0, MAX_CHARACTERS, unit="UTF8_CHAR"))
