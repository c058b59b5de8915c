"""The operator's door, over a real socket, and what Prometheus reads there."""

from __future__ import annotations

import re
from dataclasses import fields
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cep.health import Health, served
from cep.telemetry import FIELDS, METRICS, LaneCounts, render
from events.errors import ServiceUnavailable


def asked(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def busy() -> LaneCounts:
    counts = LaneCounts(
        records=7,
        watermark_us=1_500_000,
        stage_seconds={"match": 0.5},
        limits={"partials_per_key": 1},
        dead_letters={"not_json": 1},
        online_entities={"written": 2},
        tally={"released": 6, "rejected": 1},
    )
    counts.alerts_of["small-big", "high"] = 2
    counts.commit_seconds.add(0.003)
    return counts


def test_ready_only_when_the_worker_says_so_and_alive_before() -> None:
    health = Health()
    with served(health, "127.0.0.1", 0) as port:
        assert asked(port, "/healthz") == (200, "ok\n")
        assert asked(port, "/readyz")[0] == 503
        health.ready = lambda: True
        assert asked(port, "/readyz") == (200, "ready\n")
        assert asked(port, "/other")[0] == 404
        health.metrics = lambda: render({0: busy()})
        assert 'stakeout_records_total{lane="0"} 7.0' in asked(port, "/metrics")[1]
        with pytest.raises(ServiceUnavailable, match="--metrics-port"), served(health, "127.0.0.1", port):
            pass


def test_what_is_rendered_is_what_the_table_says_and_prometheus_can_read_it() -> None:
    families = {family.name: family for family in text_string_to_metric_families(render({0: busy(), 1: busy()}))}
    told = {(metric.name.removesuffix("_total"), metric.kind) for metric in METRICS}
    assert {(family.name, family.type) for family in families.values()} == told
    for metric in METRICS:
        labels = {frozenset(s.labels) - {"lane", "le"} for s in families[metric.name.removesuffix("_total")].samples}
        assert labels == {frozenset(metric.labels)}
    assert families["stakeout_watermark_timestamp_seconds"].samples[0].value == 1.5
    by_name = {sample.name: sample.value for sample in families["stakeout_commit_seconds"].samples}
    assert (by_name["stakeout_commit_seconds_count"], by_name["stakeout_commit_seconds_sum"]) == (1, 0.003)


def test_every_count_of_a_lane_is_told() -> None:
    told = {FIELDS.get(m.name, m.name.removeprefix("stakeout_").removesuffix("_total")) for m in METRICS}
    renamed = {"alerts_of": "alerts", "tally": "record_fates", "watermark_us": "watermark_timestamp_seconds"}
    assert {renamed.get(item.name, item.name) for item in fields(LaneCounts)} == told


def test_the_page_for_operators_has_the_same_table() -> None:
    """Name, kind, labels and meaning of each metric, in order."""
    page = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
    told = re.findall(r"^\| `(stakeout_\w+)` \| (\w+) \| ([\w, ]+) \| (.+) \|$", page.read_text(), re.MULTILINE)
    assert told == [(m.name, m.kind, ", ".join(("lane", *m.labels)), m.meaning) for m in METRICS]
