"""The command line, as a stranger uses it: what it answers, and what it says when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cep.cli import EXIT_ERROR, main
from cep.cli.documents import EXAMPLES
from cep.control import Activate, ControlRecord, PatternVersion, Pause, Placed, Retire
from cep.registry import project

PATTERNS = str(EXAMPLES / "patterns")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("STAKEOUT_KAFKA", "STAKEOUT_POSTGRES", "STAKEOUT_REDIS"):
        monkeypatch.delenv(variable, raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it says on standard error when it refuses."""
    assert main(arguments) == EXIT_ERROR
    return capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from cep.cli.arguments import parser; parser().format_help(); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=EXAMPLES.parent
    )
    assert not {"numpy", "numba", "polars", "msgspec", "rich", "yaml"} & set(found.stdout.split())


@pytest.mark.parametrize("command", ["demo", "simulate", "backtest", "patterns", "worker", "topics", "db", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "usage: stakeout" in capsys.readouterr().out


def test_the_shipped_patterns_have_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patterns", "check", PATTERNS]) == 0
    assert capsys.readouterr().out.count("ok  ") == 6


def test_check_reports_all_problems_of_all_files_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("patterns").mkdir()
    for name, condition in (("one", "amonut < 2"), ("two", "amount < 'x")):
        Path(f"patterns/{name}.yaml").write_text(
            f'name: {name}\nstream: transactions\nkey: [card_id]\nsteps:\n  - {{name: a, where: "{condition}"}}\n'
        )
    told = refused(capsys, "patterns", "check", "patterns", "--streams", str(EXAMPLES / "streams"))
    assert "patterns/one.yaml:5 steps[0].where" in told
    assert "did you mean" in told
    assert "patterns/two.yaml:5 steps[0].where" in told


def test_a_folder_that_is_not_there_is_told_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules").mkdir()
    told = refused(capsys, "patterns", "check", "patern")
    assert "patern" in told
    assert "hint: " in told


def test_without_streams_it_says_how_one_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("name: a")
    assert "no stream is declared" in refused(capsys, "patterns", "check", "p.yaml")


def test_explain_draws_the_automaton(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patterns", "explain", "--mermaid", f"{PATTERNS}/small-then-big.yaml"]) == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


def test_explain_says_it_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patterns", "explain", f"{PATTERNS}/card-testing.yaml"]) == 0
    assert (
        "3 or more `probe` (greedy), followed by `cashout`, within 10 minutes, per card_id" in capsys.readouterr().out
    )


def test_apply_makes_live_what_is_new_and_leaves_alone_what_has_not_changed(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("patterns/small.yaml")
    file.parent.mkdir()
    file.write_text((EXAMPLES / "patterns" / "small-then-big.yaml").read_text())
    apply = ["patterns", "apply", "patterns", "--streams", str(EXAMPLES / "streams"), "--json"]
    outcomes = []
    for text in (None, None, file.read_text().replace("amount > 500", "amount > 600")):
        if text:
            file.write_text(text)
        assert main(apply) == 0
        answer = json.loads(capsys.readouterr().out)
        outcomes.append((answer["outcome"], answer["version"]))
    assert outcomes == [("new", 1), ("unchanged", 1), ("changed", 2)]
    assert main(["patterns", "list"]) == 0
    assert "live     small-then-big version 2" in capsys.readouterr().out


def test_what_is_live_is_what_the_control_log_says_last() -> None:
    changes = (
        PatternVersion("a", 1, {}),
        Activate("a", 1),
        PatternVersion("a", 2, {}),
        Pause("a"),
        PatternVersion("b", 1, {}),
        Activate("b", 1),
        Retire("b"),
    )
    known = project([Placed(1, ControlRecord("me", 0, changes))])
    assert {name: (one.state, one.live, one.latest) for name, one in known.items()} == {
        "a": ("paused", 1, 2),
        "b": ("retired", 0, 1),
    }


def test_the_demo_tells_its_alerts_to_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seconds", "6", "--seed", "4", "--json"]) == 0
    *told, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert sum(summary["alerts"].values()) == len(told) > 0
    assert {type(one["alert"]["events"][0]["event"]["amount"]) for one in told} <= {float, int}
    measured = {one["alert"]["pattern"] for one in told if one["alert"]["measures"]}
    assert measured <= {"card-testing"}


def test_simulate_then_backtest_finds_what_was_planted(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["simulate", "--count", "6000", "--out", "h.ndjson", "--label", "is_fraud", "--labels", "l.ndjson"]) == 0
    )
    assert len(Path("h.ndjson").read_text().splitlines()) == 6000
    assert {"transaction_id", "flow", "pattern"} < set(json.loads(Path("l.ndjson").read_text().splitlines()[0]))
    capsys.readouterr()
    assert main(["backtest", PATTERNS, "--data", "h.ndjson", "--label", "is_fraud", "--value", "amount", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 6000
    assert report["together"]["precision"]["share"] == 1.0


def test_the_table_of_a_backtest_says_what_its_shares_mean(capsys: pytest.CaptureFixture[str]) -> None:
    main(["simulate", "--count", "500", "--out", "h.ndjson", "--label", "is_fraud"])
    assert main(["backtest", PATTERNS, "--data", "h.ndjson", "--label", "is_fraud"]) == 0
    told = capsys.readouterr().out
    assert "precision: matches whose last event is fraud" in told
    assert "500 events in" in told


def test_simulate_fills_the_embedded_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAKEOUT_EMBEDDED_PATH", "log.db")
    assert main(["simulate", "--count", "1500", "--out", "log"]) == 0
    from cep.log.sqlite import SqliteLog, SqliteSource

    log = SqliteLog(Path("log.db"))
    source = SqliteSource(log, ["transactions"])
    assert list(source.end().values()) == [1500]
    source.close()
    log.close()


def test_a_wrong_mapping_is_told_with_how_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "backtest", PATTERNS, "--data", "h.parquet", "--map", "card_id:CARD")
    assert "must be FIELD=COLUMN" in told


def test_topics_without_a_kafka_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "STAKEOUT_KAFKA" in refused(capsys, "topics", "create")


def test_a_setting_that_does_not_exist_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAKEOUT_LANE_COMIT_MS", "5")
    assert "did you mean STAKEOUT_LANE_COMMIT_MS?" in refused(capsys, "patterns", "list")


def test_settings_that_are_no_yaml_are_told_with_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text("lane: [\n")
    assert "line 2, column 1: not YAML" in refused(capsys, "patterns", "list", "--settings", "s.yaml")
    Path("s.yaml").write_bytes(b"lane: \xff")
    assert "not text in UTF-8" in refused(capsys, "patterns", "list", "--settings", "s.yaml")


def test_the_folder_of_measurements_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAKEOUT_DATA", "somewhere")
    assert main(["patterns", "list"]) == 0


def test_doctor_finds_an_embedded_machine_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--streams", str(EXAMPLES / "streams"), "--json"]) == 0
    found = {line["what"]: line["verdict"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["stream"] == found["log"] == found["database"] == "ok"


def test_doctor_says_that_nobody_answers_and_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAKEOUT_REDIS", "redis://:hidden@127.0.0.1:1/0")
    monkeypatch.setenv("STAKEOUT_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("STAKEOUT_KAFKA_CALL_TIMEOUT_MS", "300")
    assert main(["doctor", "--streams", str(EXAMPLES / "streams")]) == EXIT_ERROR
    told = capsys.readouterr().out
    assert "brokers at 127.0.0.1:1" in told
    assert "bad   redis" in told
    assert "hidden" not in told


def test_the_table_of_settings_names_each_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--settings-table"]) == 0
    assert "STAKEOUT_LANE_COMMIT_MS" in capsys.readouterr().out


@pytest.mark.kafka
def test_on_kafka_topics_are_made_checked_and_filled(
    kafka: str, unique: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import Consumer, TopicPartition

    monkeypatch.setenv("STAKEOUT_KAFKA", kafka)
    monkeypatch.setenv("STAKEOUT_APP", unique)
    stream = Path("streams/payments.yaml")
    stream.parent.mkdir()
    text = (EXAMPLES / "streams" / "transactions.yaml").read_text()
    stream.write_text(text.replace("topic: transactions", f"topic: {unique}-payments"))
    assert f"topic {unique}-payments" in refused(capsys, "simulate", "--out", "log", "--topic", f"{unique}-payments")
    assert "`stakeout topics create`" in refused(capsys, "patterns", "list")
    assert main(["topics", "create", "--partitions", "3", "--json"]) == 0
    assert f"{unique}-payments" in json.loads(capsys.readouterr().out)["made"]
    assert main(["simulate", "--count", "1000", "--out", "log", "--topic", f"{unique}-payments"]) == 0
    assert main(["patterns", "apply", PATTERNS, "--streams", "streams"]) == 0
    assert main(["doctor", "--streams", "streams", "--json"]) == 0
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": unique})
    ends = [consumer.get_watermark_offsets(TopicPartition(f"{unique}-payments", part), timeout=10) for part in range(3)]
    consumer.close()
    assert sum(high for _, high in ends) == 1000
