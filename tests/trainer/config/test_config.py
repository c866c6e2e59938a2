from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import Config
from trainer.config import loader as config_loader
from trainer.errors import UsageError

ROOT = Path(__file__).parents[3]
MINIMAL: dict = {
    "name": "shop",
    "data": {
        "interactions": {"path": "a.csv", "user_id": "u", "item_id": "i", "time": "t", "time_format": "order"},
    },
}


def write(tmp_path: Path, document: dict) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def with_interactions(**more: object) -> dict:
    interactions = {**MINIMAL["data"]["interactions"], **more}
    return {**MINIMAL, "data": {**MINIMAL["data"], "interactions": interactions}}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_load_and_come_back_from_their_echo(path: Path, tmp_path: Path) -> None:
    loaded = config_loader.load(path)
    echo = tmp_path / "echo.yaml"
    echo.write_text(loaded.to_yaml(), encoding="utf-8")
    assert config_loader.load(echo) == loaded
    assert Config.from_json(loaded.to_json()) == loaded


def test_gates_accept_slices_by_columns_of_the_data(tmp_path: Path) -> None:
    document = with_interactions(text=["review"], context=["device"], time_format="epoch_seconds")
    document["data"]["users"] = {"path": "u.csv", "user_id": "u", "categorical": ["language"], "numeric": ["age"]}
    slices = ("own text", "language of own text", "context: device", "profile: language", "profile: age", "time")
    loaded = config_loader.load(write(tmp_path, {**document, "gates": {"slices": list(slices)}}))
    assert loaded.gates.slices == slices
    assert loaded.restricted("evaluation", "gates").gates == loaded.gates


def test_unknown_key_is_reported_with_the_most_similar_known_key(tmp_path: Path) -> None:
    path = write(tmp_path, with_interactions(ratng="stars"))
    with pytest.raises(UsageError, match=r"`data\.interactions\.ratng` is not a known key; did you mean `rating`\?"):
        config_loader.load(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data": MINIMAL["data"]}, "`name` is missing"),
        ({**MINIMAL, "name": "My Shop"}, "`name`"),
        (
            {**MINIMAL, "model": {"dropout": 2}},
            r"`model\.dropout`: Input should be less than 1, or: Input should be 'auto'\. Received: '2'",
        ),
        ({**MINIMAL, "model": {"dim": 0}}, r"`model\.dim`.*greater than 0.*Received: '0'"),
        ({**MINIMAL, "retrieval": {"hard_negatives": 5}}, "set `loss` to sampled_softmax or triplet"),
        (
            {**MINIMAL, "gates": {"least": {"ndgc@10": 0.1}}},
            r"every name in `gates\.least` should be one of: .*ndcg@10, .*Received: 'ndgc@10'",
        ),
        (
            {**MINIMAL, "gates": {"least": {"ndcg@10": 0.1}}, "evaluation": {"cutoffs": [5]}},
            r"every name in `gates\.least` should be one of: .*ndcg@5, .*Received: 'ndcg@10'",
        ),
        (
            {**MINIMAL, "gates": {"baselines": ["horoscope"]}},
            r"every name in `gates\.baselines` should be one of: popularity, .*Received: 'horoscope'",
        ),
        (  # the data is in order, without times or texts
            {**MINIMAL, "gates": {"slices": ["history", "time"]}},
            r"every name in `gates\.slices` should be one of: history, popularity of the item, user\. Received: 'time'",
        ),
        (
            {**MINIMAL, "retrieval": {"loss": "triplet"}, "model": {"similarity": "dot"}},
            "set `model.similarity` to cosine",
        ),
        (
            {**MINIMAL, "data": {**MINIMAL["data"], "exclude_recent_seconds": 60}},
            "`exclude_recent_seconds` should be set with `exclude_history: false` only",
        ),
        (
            {**MINIMAL, "data": {**MINIMAL["data"], "exclude_history": False, "exclude_recent_seconds": 60}},
            "should be left out with `time_format: order`",
        ),
        (with_interactions(time_format="unix"), r"time_format.*epoch_seconds.*Received: 'unix'"),
        (with_interactions(context=["设备"]), "feature name.*feature_name: column"),
        ({**MINIMAL, "data": {**MINIMAL["data"], "split": {"kind": "time"}}}, "validation_from"),
        (
            {**MINIMAL, "serving": {"category": "genre"}},
            r"`serving\.category` should be a feature in `data\.items\.categorical`.*Received: 'genre'",
        ),
        ({**MINIMAL, "data": {**MINIMAL["data"], "pseudonymise": {}}}, "exactly one of `key_env` and `key_file`"),
    ],
)
def test_errors_are_reported_in_one_line(tmp_path: Path, document: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        config_loader.load(write(tmp_path, document))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "a: [", "\t- x"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        config_loader.load(path)


def test_missing_file() -> None:
    with pytest.raises(UsageError, match="cannot read the configuration"):
        config_loader.load("no/such/file.yaml")


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert config_loader.load(path, ["model.dim=32", "data.interactions.text=[a, b]"]).model.dim == 32
    with pytest.raises(UsageError, match=r"--set should be section\.key=value"):
        config_loader.load(path, ["model.dim"])
    with pytest.raises(UsageError, match=r"`name\.x`: `name` should be a section\. Received: 'shop'"):
        config_loader.load(path, ["name.x=1"])
    with pytest.raises(UsageError, match=r"did you mean `layers`"):
        config_loader.load(path, ["model.layrs=1"])


def test_columns_may_be_a_list_or_a_mapping(tmp_path: Path) -> None:
    listed = config_loader.load(write(tmp_path, with_interactions(context=["device"])))
    mapped = config_loader.load(write(tmp_path, with_interactions(context={"device": "device"})))
    assert listed == mapped
    renamed = config_loader.load(write(tmp_path, with_interactions(context={"device": "设备"})))
    assert renamed.data.interactions.context == {"device": "设备"}


def test_restricted_resets_all_other_sections(tmp_path: Path) -> None:
    path = write(tmp_path, {**MINIMAL, "model": {"dim": 32}, "retrieval": {"epochs": 7}})
    config = config_loader.load(path)
    assert config.restricted("model").model.dim == 32
    assert config.restricted("model") == config_loader.load(path, ["retrieval.epochs=9"]).restricted("model")
    assert config.restricted("retrieval") != config_loader.load(path, ["retrieval.epochs=9"]).restricted("retrieval")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_document_ends_in_anything_but_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "data": document, "model": document}), encoding="utf-8")
    with pytest.raises(UsageError):
        config_loader.load(path)


def test_every_key_has_a_description() -> None:
    """The documentation's reference of keys is made from the descriptions; a section has a docstring instead."""

    def check(model: type[pydantic.BaseModel]) -> None:
        assert model.__doc__, model
        for name, field in model.model_fields.items():
            parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
            sections = [part for part in parts if isinstance(part, type) and issubclass(part, pydantic.BaseModel)]
            assert field.description or sections, f"{model.__name__}.{name}"
            for section in sections:
                check(section)

    check(Config)
