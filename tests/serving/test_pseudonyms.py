import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.pseudonyms import PseudonymKeyError, pseudonym, read_key

KEY = b"0123456789abcdef"


def test_agrees_with_the_published_vector():
    # RFC 4231, test case 2.
    expected = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    given_out = pseudonym(b"Jefe", "what do ya want for nothing?")
    assert base64.urlsafe_b64decode(given_out + "=") == expected


@given(st.text(min_size=1), st.text(min_size=1))
def test_is_one_to_one_under_a_key_and_safe_in_urls(first, second):
    first, second = (text.encode("utf-8", "replace").decode() for text in (first, second))
    assert (pseudonym(KEY, first) == pseudonym(KEY, second)) == (first == second)
    assert pseudonym(KEY, first) != pseudonym(KEY[::-1], first)
    assert len(pseudonym(KEY, first)) == 43
    assert pseudonym(KEY, first).replace("-", "a").replace("_", "a").isalnum()


def test_key_from_environment_or_file(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOP_KEY", KEY.decode())
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(key_env="SHOP_KEY") == read_key(key_file=str(tmp_path / "key")) == KEY


@pytest.mark.parametrize(
    "arguments", [{"key_env": "NO_SUCH_KEY"}, {"key_file": "/no/such/key"}, {"key_env": "SHORT"}, {}]
)
def test_refuses_without_showing_the_key(arguments, monkeypatch):
    monkeypatch.setenv("SHORT", "tiny-secret")
    with pytest.raises(PseudonymKeyError) as error:
        read_key(**arguments)
    assert "tiny-secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_imports_the_standard_library_only():
    script = "import sys, serving.pseudonyms; print([m for m in sys.modules if m.split('.')[0] in sys.argv[1:]])"
    command = [sys.executable, "-c", script, "trainer", "tensorflow", "tfx", "apache_beam", "numpy", "tfx_pipeline"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
