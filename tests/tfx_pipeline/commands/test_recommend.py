"""`towers recommend` against a server that answers, fails, or is not there."""

import json
import subprocess
import sys

import grpc
import pytest

from serving.client import Recommendation
from tests.serving.certificates import Authority
from tests.serving.client.scripted_server import ITEMS, ScriptedServer
from tfx_pipeline import cli
from tfx_pipeline.commands.recommend import lines


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def recommend(monkeypatch, capsys):
    """`recommend(*flags)` -> exit code, lines of standard output, standard error."""
    monkeypatch.setattr("atexit.register", lambda function: function)  # this process goes on after a failure

    def run(*flags):
        try:
            code = cli.main(["recommend", *flags])
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


def test_one_user(recommend, server):
    code, out, err = recommend("--server", server.address, "--user", "u1", "--history", "b7", "--k", "2")
    assert (code, err) == (0, "")
    assert [line.split() for line in out] == [["1", "3.000", "b1"], ["2", "2.000", "b2"]]


def test_several_users_in_one_call(recommend, server):
    code, out, err = recommend("--server", server.address, "--user", "u1", "--user", "u2", "--k", "1")
    assert (code, err) == (0, "")
    assert [line.split() for line in out] == [["u1:"], ["1", "3.000", "b1"], ["u2:"], ["1", "3.000", "b1"]]
    assert server.predicted() == 1


def test_json(recommend, server):
    code, out, _ = recommend("--server", server.address, "--user", "读者", "--user", "u2", "--json")
    assert code == 0
    assert [json.loads(line) for line in out] == [
        {"user_id": user, "item_ids": list(ITEMS), "scores": [3.0, 2.0, 1.0], "version": 1, "fallback": False}
        for user in ("读者", "u2")
    ]
    assert "读者" in out[0]


def test_retries_and_label(recommend, server):
    server.fail("UNAVAILABLE")
    code, _, _ = recommend("--server", server.address, "--retries", "1", "--version_label", "canary")
    assert code == 0
    assert {spec.version_label for spec in server.specs} == {"canary"}
    server.fail("UNAVAILABLE")
    code, out, err = recommend("--server", server.address, "--retries", "0")
    assert (code, out) == (1, [])
    assert err == "towers: on command [UNAVAILABLE]\n"


def test_timeout(recommend, server):
    server.delay = 0.5
    code, _, err = recommend("--server", server.address, "--timeout", "0.2")
    assert code == 1
    assert "within 0.2 s" in err
    assert err.count("\n") == 1


def test_fallback(recommend, tmp_path):
    path = tmp_path / "popular.txt"
    path.write_text("p1\np2\np3\n")
    flags = ("--server", "127.0.0.1:1", "--fallback", str(path), "--exclude", "p1")
    code, out, err = recommend(*flags, "--json")
    assert code == 0
    assert json.loads(out[0])["item_ids"] == ["p2", "p3"]
    assert json.loads(out[0])["fallback"] is True
    assert err.startswith("towers: no model answered, the items come from --fallback: ")
    assert err.count("\n") == 1
    code, _, err = recommend("--fallback", str(tmp_path / "missing"))
    assert code == 1
    assert "missing cannot be read" in err


def test_mutual_tls(recommend, tmp_path):
    authority, clients = Authority("servers"), Authority("clients")
    key, certificate = authority.issue("server")
    credentials = grpc.ssl_server_credentials(
        [(key.encode(), certificate.encode())], clients.certificate.encode(), True
    )
    texts = dict(zip(("key", "certificate"), clients.issue("client"), strict=True), ca=authority.certificate)
    flags = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        flags += [f"--tls_{name}", str(tmp_path / name)]
    with ScriptedServer(credentials=credentials) as server:
        assert recommend("--server", server.address, *flags)[0] == 0
        code, _, err = recommend("--server", server.address, "--tls")
        assert code == 1
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--k", "0"], "--k: should be a positive integer. Received: '0'"),
        (["--timeout", "-1"], "--timeout: should be positive seconds. Received: '-1'"),
        (["--timeout", "nan"], "--timeout: should be positive seconds"),
        (["--retries", "x"], "--retries: should be 0 or a positive integer"),
        (["--diversity", "2"], "--diversity: should be from 0 to 1"),
        (["--feature", "age"], "--feature should be NAME=VALUE. Received: 'age'"),
        (["--user", "a", "--user", "b", "--history", "i"], "--history is of one user"),
        (["--tls_key", "k.pem"], "--tls_key and --tls_certificate go together"),
        (["--signature", "rank"], "invalid choice: 'rank'"),
    ],
)
def test_bad_usage(recommend, flags, message):
    code, out, err = recommend(*flags)
    assert (code, out) == (2, [])
    assert message in err


def test_an_input_the_model_lacks(recommend, server):
    code, _, err = recommend("--server", server.address, "--category", "novel")
    assert code == 1
    assert err.startswith("towers: the model has no input allowed_category; it has: exclude_item_id, history_item_id")


def test_starts_without_tensorflow():
    code = (
        "import sys\n"
        "from tfx_pipeline import cli\n"
        "assert cli.main(['recommend', '--server', '127.0.0.1:1']) == 1\n"
        "assert not {'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def test_a_title_that_is_the_id_is_not_said_twice():
    items = [Recommendation("tea cup", 2.0), Recommendation("b1", 1.5), Recommendation("b2", 1.0)]
    shown = lines(items, {"tea cup": "tea cup", "b1": "a book"})
    assert shown == ["   1     2.000  tea cup", "   2     1.500  b1  a book", "   3     1.000  b2"]
