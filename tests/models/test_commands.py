"""`stakeout models`, as the page shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cep.cli import EXIT_ERROR, main
from cep.cli.documents import EXAMPLES

PAGE = EXAMPLES.parent / "docs" / "models.md"
MODEL = EXAMPLES / "models" / "card_risk.yaml"
TRAIN = ["models", "train", str(MODEL)]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("STAKEOUT_KAFKA", "STAKEOUT_POSTGRES", "STAKEOUT_REDIS"):
        monkeypatch.delenv(variable, raising=False)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_shipped_document() -> None:
    assert yaml.safe_load(blocks("yaml")[0]) == yaml.safe_load(MODEL.read_text(encoding="utf-8"))


def test_the_page_shows_what_training_answers(capsys: pytest.CaptureFixture[str]) -> None:
    command = blocks("sh")[0].split()
    assert main([*TRAIN, *command[4:]]) == 0
    told = capsys.readouterr()
    assert blocks("text")[0] in told.out
    assert "the scores of all 22,315 test rows are those of scikit-learn" in told.err
    for line in blocks("sh")[1].splitlines():
        assert main(line.split()[1:]) == 0
    assert "card_risk version 1  AUC 0.883  AP 0.535  champion" in capsys.readouterr().out


def test_each_training_makes_the_next_version(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("1", "2"):
        assert main([*TRAIN, "--simulate", "40000", "--seed", seed, "--json"]) == 0
    cards = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [card["version"] for card in cards] == [1, 2]
    assert cards[0]["digest"] != cards[1]["digest"]
    assert main(["models", "alias", "card_risk", "champion", "2"]) == 0
    assert main(["models", "alias", "card_risk", "challenger", "1"]) == 0
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["version"], one["aliases"]) for one in listed] == [(1, ["challenger"]), (2, ["champion"])]


def test_a_file_that_was_changed_gets_no_alias(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--simulate", "40000"]) == 0
    file = next(Path(".stakeout/store").rglob("model.onnx"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert main(["models", "alias", "card_risk", "champion", "1"]) == EXIT_ERROR
    assert "the file was changed after it was trained" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "champion" not in capsys.readouterr().out


def test_what_can_not_be_trained_is_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Path("h.csv").write_text("card_id,at,amount,approved\nc7,1000,2.50,true\n")
    assert main([*TRAIN, "--data", "h.csv"]) == EXIT_ERROR
    assert "is_fraud: the file has no such column" in capsys.readouterr().err
    assert main([*TRAIN, "--simulate", "1000"]) == EXIT_ERROR
    assert "both frauds and good events are needed" in capsys.readouterr().err
    assert main(["models", "show", "card_risk"]) == EXIT_ERROR
    assert "there are the versions: none" in capsys.readouterr().err
