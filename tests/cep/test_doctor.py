"""What `stakeout doctor` says of disks, clocks and folders."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from cep import doctor
from cep.doctor import Finding, examine


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def findings(what: str) -> list[Finding]:
    return [finding for finding in examine(argparse.Namespace(settings=None, streams=[])) if finding.what == what]


@pytest.fixture(autouse=True)
def _embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("STAKEOUT_KAFKA", "STAKEOUT_POSTGRES", "STAKEOUT_REDIS"):
        monkeypatch.delenv(variable, raising=False)


def test_a_full_disk_is_bad_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    (bad,) = [finding for finding in findings("log") if finding.verdict == "bad"]
    assert "0.0 GB free" in bad.found
    assert "make room" in bad.do


def test_a_disk_with_room_is_told_with_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "disk_usage", lambda path: Usage(10**11, 0, 5 * 10**10))
    assert any("50.0 GB free" in finding.found for finding in findings("log"))


def test_clocks_apart_are_bad_in_both_directions_and_the_time_of_the_question_does_not_count() -> None:
    for theirs_s in (100.0, 115.0):
        (finding,) = doctor._clock("redis", theirs_s, 106.0, 107.0)
        assert finding.verdict == "bad"
    assert list(doctor._clock("redis", 107.0, 100.0, 110.0)) == []


@pytest.mark.redis
def test_a_redis_whose_clock_agrees_is_only_ok(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAKEOUT_REDIS", redis_url)
    assert [finding.verdict for finding in findings("redis")] == ["ok"]


@pytest.mark.redis
def test_a_redis_whose_clock_is_off_is_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is moved: an hour ahead."""
    true_s = time.time
    monkeypatch.setenv("STAKEOUT_REDIS", redis_url)
    monkeypatch.setattr(time, "time", lambda: true_s() + 3600)
    assert [finding.verdict for finding in findings("redis")] == ["ok", "bad"]


@pytest.mark.postgres
def test_a_postgres_without_tables_says_how_to_make_them(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its clock is no finding, as it agrees."""
    monkeypatch.setenv("STAKEOUT_POSTGRES", postgres_url)
    (finding,) = findings("database")
    assert (finding.verdict, finding.do) == ("bad", "`stakeout db upgrade`")
