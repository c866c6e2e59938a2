"""`ModelServerConfig`: what is accepted, what is refused and how."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config import model_server_config_pb2

from serving.server.models.config_file import read_model_configs
from serving.server.models.model_config import ModelConfig, VersionPolicy, model_configs
from serving.server.request_errors import RequestError
from serving.wire.errors import ServerError


def parse(*models):
    text = " ".join(f"config {{ {model} }}" for model in models)
    config = text_format.Parse(f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())
    return model_configs(config)


GOOD = 'name: "m" base_path: "/m" model_platform: "tensorflow" '


def test_defaults():
    assert parse(GOOD) == {"m": ModelConfig("m", Path("/m"), VersionPolicy(latest=1), {})}


def test_the_deprecated_type_is_the_platform():
    assert list(parse('name: "m" base_path: "/m" model_type: TENSORFLOW')) == ["m"]


def test_labels():
    text = "version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
    assert parse(GOOD + text)["m"].labels == {"stable": 1, "canary": 2}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", {9}),
        ("latest {}", {9}),
        ("latest { num_versions: 0 }", {9}),
        ("latest { num_versions: 2 }", {3, 9}),
        ("latest { num_versions: 5 }", {1, 3, 9}),
        ("all {}", {1, 3, 9}),
        ("specific { versions: 3 versions: 4 }", {3}),
        ("specific {}", set()),
    ],
)
def test_policies(policy, chosen):
    assert parse(GOOD + f"model_version_policy {{ {policy} }}")["m"].policy.choose([3, 1, 9]) == chosen


@pytest.mark.parametrize("text", ["latest {}", "all {}", "specific { versions: 3 }"])
def test_a_policy_chooses_nothing_of_nothing(text):
    assert parse(GOOD + f"model_version_policy {{ {text} }}")["m"].policy.choose([]) == set()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([GOOD, GOOD], "Illegal to list model m multiple times in config list"),
        (
            [GOOD.replace("/m", "models/m")],
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        ([GOOD.replace("/m", "")], "Expected model m to have an absolute path or URI; got base_path()="),
        ([GOOD.replace("/m", "gs://bucket/m")], "this server reads no URIs; got base_path()=gs://bucket/m"),
        ([GOOD.replace('"m"', '""')], "Expected a model to have a name"),
        (['name: "m" base_path: "/m"'], "Illegal setting neither"),
        ([GOOD + "model_type: TENSORFLOW"], "Illegal setting both"),
        (['name: "m" base_path: "/m" model_type: OTHER'], "choice 2 not supported"),
        ([GOOD.replace("tensorflow", "xgboost")], "Model m requests unsupported platform xgboost"),
    ],
)
def test_refusals(models, message):
    with pytest.raises(RequestError) as caught:
        parse(*models)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert message in caught.value.message


def test_custom_configs_are_refused():
    config = model_server_config_pb2.ModelServerConfig()
    config.custom_model_config.SetInParent()
    with pytest.raises(RequestError, match="custom_model_config"):
        model_configs(config)


@pytest.mark.parametrize(
    ("content", "expected_error"),
    [
        (b"model_config_list {\n  config { nam: 'm' }\n}", 'line 2, column 12: .*no field named "nam"'),
        (b"model_config_list {", "line 1, column "),
        (b"\xff\xfe", "is not UTF-8 text, at byte 0"),
        (b"model_config_list { config { name: 'm' } }", "models.config: Illegal setting neither"),
    ],
)
def test_a_broken_file_is_told_in_one_line_with_the_place(tmp_path, content, expected_error):
    path = tmp_path / "models.config"
    path.write_bytes(content)
    with pytest.raises(ServerError, match=expected_error) as caught:
        read_model_configs(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ServerError, match=r"cannot read .*nowhere: No such file"):
        read_model_configs(tmp_path / "nowhere")


_SYNTAX = (
    "model_config_list config { } : name 'm' base_path '/m' model_platform 'tensorflow' version_labels key value 1 -1 "
    "99999999999999999999 all [a.b/c] custom_model_config <"
)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(_SYNTAX.split()), max_size=25).map(lambda words: " ".join(words).encode()),
    )
)
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.config"
    path.write_bytes(content)
    message = ""
    try:
        read_model_configs(path)
    except ServerError as error:
        message = str(error)
    assert "\n" not in message
