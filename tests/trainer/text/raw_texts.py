"""Random raw texts made of the patterns that cleaning replaces."""

from __future__ import annotations

import html

from hypothesis import strategies as st

# Patterns of the cleaning steps, complete and in halves: joined at random, they test each step against each other.
PIECES = [
    *("<", ">", "</", "/>", "<b", "<b>", "<br />", "</p>", "<a href=", "<p ", "i", "b"),
    *(
        "&",
        ";",
        "#",
        "&amp;",
        "amp;",
        "&lt;",
        "lt;",
        "&gt;",
        "gt;",
        "&#38;",
        "&#x26;",
        "#39;",
        "&quot;",
        "&nbsp;",
        "&a",
    ),
    *("http://", "https:", "//", "/", "www.", "www", ".", "..", "@", "a", "x.com", "a@b.cc", "mailto:", "url", "email"),
    *("!", "!!", "?", "-", "。", "！", "…", "⁇", "＆", "＜", "＞", "；", "＠", "．", "ﷺ"),
    *(
        " ",
        "\n",
        "\u3000",
        "\u2028",
        "\u1680",
        "\x00",
        "\x85",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufe0f",
        "\ufffd",
        "\u0301",
    ),
    *("e", "书", "가", "ᄀ", "ᅡ", "👩", "🏽", "\U000e0067", "K", "ſ", "1", "\ue000", "\U0010ffff"),
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(html.escape),
)
