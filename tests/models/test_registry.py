"""The store of models: versions are whole or not there, and never change."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from events.errors import IntegrityViolation, ServiceUnavailable
from models.card import FORMAT, decode_card, encode_card
from models.registry import Registry
from models.train import train
from tests.models.samples import declared, sample

MODEL = declared("decision_tree")
CARD, DATA = train(MODEL, sample(MODEL), 1)


@pytest.fixture(params=["folder", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Registry:
    """In a folder, and at an address of fsspec."""
    return Registry(str(tmp_path / "store") if request.param == "folder" else f"memory://{unique}")


def test_what_was_added_comes_back(registry: Registry) -> None:
    assert (registry.names(), registry.versions("risk"), registry.next_version("risk")) == ([], [], 1)
    registry.add(CARD, DATA)
    registry.add(msgspec.structs.replace(CARD, version=2), DATA)
    assert (registry.names(), registry.versions("risk"), registry.next_version("risk")) == (["risk"], [1, 2], 3)
    assert (registry.card("risk", 1), registry.model("risk", 1)) == (CARD, DATA)


def test_a_version_never_changes(registry: Registry) -> None:
    registry.add(CARD, DATA)
    with pytest.raises(IntegrityViolation, match="risk version 1 is there"):
        registry.add(CARD, b"another")
    assert registry.model("risk", 1) == DATA


def test_a_version_without_a_card_is_none_and_its_number_is_taken(tmp_path: Path) -> None:
    (tmp_path / "models" / "risk" / "v4").mkdir(parents=True)
    (tmp_path / "models" / "risk" / "v4" / "model.onnx").write_bytes(DATA)
    registry = Registry(str(tmp_path))
    assert (registry.names(), registry.versions("risk"), registry.next_version("risk")) == ([], [], 5)


def test_a_version_that_is_not_there_is_said_with_those_that_are(registry: Registry) -> None:
    registry.add(CARD, DATA)
    with pytest.raises(ServiceUnavailable, match=r"no such file\n  hint: there are the versions: 1"):
        registry.card("risk", 7)


def test_the_card_of_another_version_is_refused(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    registry.add(CARD, DATA)
    (tmp_path / "models" / "risk" / "v1").rename(tmp_path / "models" / "risk" / "v2")
    with pytest.raises(IntegrityViolation, match="is the card of risk version 1"):
        registry.card("risk", 2)


def test_an_address_that_no_package_knows_is_refused() -> None:
    with pytest.raises(ServiceUnavailable, match=r"address\.store"):
        Registry("nowhere://store.test")


def test_a_card_is_text_that_comes_back_the_same() -> None:
    assert decode_card(encode_card(CARD), "card") == CARD


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "can't be read"),
        (b"{}", "missing required field `format`"),
        (encode_card(CARD).replace(b'"version": 1', b'"version": "one"'), r"\$.version"),
        (encode_card(msgspec.structs.replace(CARD, format=FORMAT + 1)), "format 2, this release reads 1"),
    ],
)
def test_what_is_no_card_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(IntegrityViolation, match=said):
        decode_card(data, "card")
