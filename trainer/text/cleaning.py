"""Cleaning of raw text as TensorFlow ops: the same in Beam, in TensorFlow Transform and in the served graph.

Every op is in TensorFlow's core or is `NormalizeUTF8`, which stock TensorFlow Serving links. The order of the steps is
what makes cleaning idempotent: no step can make a match for an earlier one (what is taken out of the middle leaves a
space, and what leaves nothing goes before anything is matched).
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

CLEANING_VERSION = "1"  # part of every encoder's fingerprint: raise it when the output of `clean` changes
MAX_CHARACTERS = 10_000  # no encoder reads further; a text of 1 MB must not cost 1 MB of regular expressions

_MAX_BYTES = 4 * MAX_CHARACTERS  # UTF-8 needs at most 4 bytes a character
_SPACE = ord(" ")

# Format characters (zero-width, direction marks, soft hyphen, ...) and variation selectors: they are not seen.
_INVISIBLE = r"[\p{Cf}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]+"
_BLANK = r"[\p{Cc}\p{Z}\x{FFFD}]+"

# RE2 knows no back-references and its rewrites know nine groups: a mark a group.
_REPEATED_MARKS = ("!?.,-_*=~", "#$%^+|;:。")

# "&amp;lt;" is "&lt;" written in HTML twice, so ampersands unwrap first.
_AMPERSAND = r"(?i)&(?:amp;|#0*38;|#x0*26;)+"
_DECODED = (
    (r"(?i)&(?:lt|#0*60|#x0*3c);", "<"),
    (r"(?i)&(?:gt|#0*62|#x0*3e);", ">"),
    (r"(?i)&(?:quot|#0*34|#x0*22);", '"'),
    (r"(?i)&(?:apos|#0*39|#x0*27);", "'"),
)
_OTHER_ENTITY = r"&(?:[A-Za-z]{2,8}[0-9]{0,2}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"

# Only names that HTML has: "a < b", "<3" and "<小明>" are text. "<" may follow the name so that the hole which an inner
# tag leaves cannot complete an outer one.
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
    """Pattern and rewrite that turn runs of one of at most nine marks into one of it."""
    escaped = [rf"\x{{{ord(mark):X}}}" for mark in marks]
    pattern = "|".join(f"({mark}){mark}+" for mark in escaped)
    rewrite = "".join(rf"\{group}" for group in range(1, len(marks) + 1))
    return pattern, rewrite


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Readable text out of whatever was stored: one line, NFKC, no markup.

    Invalid UTF-8 and control characters become spaces; invisible characters go; NFKC (full-width to half-width among
    it); runs of one punctuation mark become one; HTML entities are decoded if they stand for & < > " ' and become a
    space otherwise; HTML tags go; URLs and e-mail addresses become `url` and `email`; white space collapses; at most
    `MAX_CHARACTERS` characters remain. Letter case stays: that is the tokenizer's business. `clean(clean(x))` equals
    `clean(x)`.

    Args:
      texts: string, any shape; bytes in any state.

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
    texts = tf.strings.substr(texts, 0, MAX_CHARACTERS, unit="UTF8_CHAR")  # NFKC may lengthen, 18-fold at worst
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
