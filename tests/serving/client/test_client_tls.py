"""The client's side of TLS and mutual TLS."""

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from serving.client import RecommenderClient, ServingError, Tls
from tests.serving.certificates import Authority
from tests.serving.client.scripted_server import ITEMS, ScriptedServer

AUTHORITY, CLIENTS = Authority("servers"), Authority("clients")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name -> path of what a client may have, good and bad."""
    directory = tmp_path_factory.mktemp("pem")
    key, certificate = CLIENTS.issue("client")
    encrypted = serialization.load_pem_private_key(key.encode(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    texts = {
        "servers": AUTHORITY.certificate,
        "clients": CLIENTS.certificate,
        "key": key,
        "certificate": certificate,
        "other_key": CLIENTS.issue("other")[0],
        "encrypted_key": encrypted.decode(),
        "prose": "no certificate",
        "empty": "",
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
    return {name: directory / name for name in (*texts, "missing")}


def credentials(mutual):
    key, certificate = AUTHORITY.issue("server")
    return grpc.ssl_server_credentials(
        [(key.encode(), certificate.encode())], CLIENTS.certificate.encode() if mutual else None, mutual
    )


def recommended(server, tls):
    with RecommenderClient(server.address, timeout=10, tls=tls) as client:
        return [item.item_id for item in client.recommend(user_id="u")]


def test_tls(files):
    with ScriptedServer(credentials=credentials(mutual=False)) as server:
        assert recommended(server, Tls(files["servers"])) == list(ITEMS)
        for tls in (None, Tls(str(files["clients"])), Tls(files["servers"], server_name="elsewhere")):
            with pytest.raises(ServingError) as caught:
                recommended(server, tls)
            assert caught.value.code == "UNAVAILABLE"


def test_mutual_tls(files):
    with ScriptedServer(credentials=credentials(mutual=True)) as server:
        assert recommended(server, Tls(files["servers"], files["key"], files["certificate"])) == list(ITEMS)
        with pytest.raises(ServingError) as caught:
            recommended(server, Tls(files["servers"]))
        assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("missing",), "missing cannot be read (No such file or directory)"),
        (("prose",), "prose is no PEM file of certificates"),
        (("empty",), "empty is no PEM file of certificates"),
        (("key",), "key is no PEM file of certificates"),
        (("servers", "missing", "certificate"), "missing cannot be read (No such file or directory)"),
        (("servers", "key", "missing"), "missing cannot be read (No such file or directory)"),
        (("servers", "prose", "certificate"), "prose is no PEM file of a private key"),
        (("servers", "encrypted_key", "certificate"), "encrypted_key is no PEM file of a private key, is encrypted"),
        (("servers", "key", "prose"), "prose is no PEM file of certificates"),
        (("servers", "other_key", "certificate"), "other_key is no PEM file of a private key, is encrypted, or does"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files, names, message):
    with pytest.raises(ServingError) as caught:
        RecommenderClient("127.0.0.1:1", tls=Tls(*(files[name] for name in names)))
    assert caught.value.code == "FAILED_PRECONDITION"
    assert message in caught.value.message


@pytest.mark.parametrize("given", ["private_key", "certificate_chain"])
def test_half_an_identity(given):
    with pytest.raises(ServingError, match=f"`{given}` needs `"):
        Tls(**{given: "file.pem"})
