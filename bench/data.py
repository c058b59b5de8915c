"""The events that every benchmark reads, ours and the peers': made from a seed, never stored in the repository.

`transactions` draws card payments as columns and `thousand_patterns` the many-patterns work; `ndjson` and
`thousand_ndjson` write the same events as JSON records. `dump_transactions` and `dump_thousand` write them as the raw
little-endian files, one a column, that the Java and C peers map.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]

SEED = 7
CARDS = 20_000
OUT = Path(__file__).parent / "out"

# The five works over `transactions`, defined in peers/flink Works.java, with Flink CEP's matches in 2,000,000 events.
# The other engines count the same, except Esper in card_testing: 33,242.
FLINK_MATCHES = {
    "small_big": 10_675,
    "country_change": 12_460,
    "card_testing": 32_911,
    "rising_triple": 136_294,
    "twenty_patterns": 126_309,
}

# 2026-01-01T00:00:00Z. Columns count milliseconds from zero; a JSON record's event_time is this much later.
EPOCH_MS = 1_767_225_600_000

COUNTRIES = ("DE", "FR", "NL", "AT", "PL", "ES", "RO", "NG")
COUNTRY_WEIGHTS = (0.7, 0.1, 0.06, 0.05, 0.04, 0.03, 0.01, 0.01)
CURRENCIES = ("EUR", "USD", "GBP", "PLN")
CATEGORIES = ("grocery", "fuel", "travel", "dining", "electronics", "cash", "clothing", "gaming")
CHANNELS = ("pos", "ecom", "atm", "moto")
ENTRIES = ("chip", "contactless", "online", "stripe")

# The fields of a JSON record and how each is written.
FIELDS = {
    "transaction_id": '"tx-%08d"',
    "card_id": '"card-%05d"',
    "event_time": "%d",
    "amount": "%.2f",
    "country": '"%s"',
    "currency": '"%s"',
    "merchant_id": '"m-%05d"',
    "category": '"%s"',
    "channel": '"%s"',
    "entry": '"%s"',
    "terminal": '"t-%06d"',
    "approved": "%s",
}

# The same of `thousand_patterns`.
THOUSAND_FIELDS = {
    **{name: FIELDS[name] for name in ("transaction_id", "card_id", "event_time")},
    **{f"f{i}": "%.4f" for i in range(8)},
    **{f"f{i}": "%d" for i in range(8, 10)},
}


def transactions(n: int = 2_000_000) -> Columns:
    """`n` payments in time order: card int32, ts int64 (ms from zero), amount float64, country int32 (0..7).

    The order of the draws is part of the definition: the match counts on which all engines agree depend on it.
    """
    return _draw(n)[0]


def ndjson(columns: Columns, fields: int = len(FIELDS)) -> list[bytes]:
    """The payments as JSON records of about 240 bytes, one `bytes` an event, with the first `fields` of FIELDS.

    `columns` must come from `transactions`: the other fields are drawn from the same stream, after its draws. Record i
    has the transaction_id f"tx-{i:08d}"; event_time is ts + EPOCH_MS; amount has two decimals and reads back as the
    same float64.
    """
    if not 1 <= fields <= len(FIELDS):
        raise ValueError(f"ndjson: fields is {fields}, but a record has 1 to {len(FIELDS)} fields")
    return _written(dict(list(FIELDS.items())[:fields]), (row[:fields] for row in _rows(columns)))


def _written(fields: Mapping[str, str], rows: Iterable[tuple[Any, ...]]) -> list[bytes]:
    record = ("{" + ",".join(f'"{name}":{shape}' for name, shape in fields.items()) + "}").__mod__
    return [record(row).encode() for row in rows]


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    n = len(columns["ts"])
    rng = _draw(n)[1]
    yield from zip(
        range(n),
        columns["card"].tolist(),
        (columns["ts"] + EPOCH_MS).tolist(),
        columns["amount"].tolist(),
        _words(COUNTRIES, columns["country"]),
        _words(CURRENCIES, rng.choice(len(CURRENCIES), n, p=(0.85, 0.07, 0.05, 0.03))),
        rng.integers(0, 50_000, n).tolist(),
        _words(CATEGORIES, rng.integers(0, len(CATEGORIES), n)),
        _words(CHANNELS, rng.choice(len(CHANNELS), n, p=(0.6, 0.3, 0.08, 0.02))),
        _words(ENTRIES, rng.integers(0, len(ENTRIES), n)),
        rng.integers(0, 1_000_000, n).tolist(),
        _words(("false", "true"), (rng.random(n) < 0.96).astype(np.int64)),
        strict=True,
    )


def _words(words: tuple[str, ...], codes: npt.NDArray[Any]) -> list[str]:
    return [words[code] for code in codes.tolist()]


def _draw(n: int) -> tuple[Columns, np.random.Generator]:
    rng = np.random.default_rng(SEED)
    card, ts = _cards_and_instants(rng, n)
    amount = np.round(rng.lognormal(3.3, 1.1, n), 2)
    small = rng.random(n) < 0.02
    amount[small] = np.round(0.01 + 0.99 * rng.random(int(small.sum())), 2)
    big = rng.random(n) < 0.01
    amount[big] = np.round(500 + 5000 * rng.random(int(big.sum())), 2)
    country = rng.choice(len(COUNTRIES), n, p=COUNTRY_WEIGHTS).astype(np.int32)
    return {"card": card, "ts": ts, "amount": amount, "country": country}, rng


def _cards_and_instants(rng: np.random.Generator, n: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    weight = np.arange(1, CARDS + 1, dtype=np.float64) ** -0.6
    card = rng.choice(CARDS, n, p=weight / weight.sum()).astype(np.int32)
    return card, np.cumsum(rng.exponential(1.0, n)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Step:
    """One condition: `field op constant`."""

    field: str
    op: Literal["<", ">", "="]
    constant: float


@dataclass(frozen=True, slots=True)
class StepPattern:
    """Two to four steps of one card, joined by followed_by, within `within_ms`; skip past last event."""

    name: str
    steps: tuple[Step, ...]
    within_ms: int = 600_000


def thousand_patterns(
    n_events: int, n_patterns: int = 1000, seed: int = SEED
) -> tuple[Columns, tuple[StepPattern, ...]]:
    """Many patterns over ten fields, each condition true on 0.1 to 1 % of the events.

    Columns: card int32 and ts int64 as in `transactions`; f0..f4 uniform in [0, 1), f5..f7 lognormal, rounded to four
    decimals and compared with a threshold at a quantile of their distribution; f8 and f9 float64 codes 0..199 (each
    true on 0.5 %), compared by equality. A pattern's conditions and the patterns themselves are independent of
    `n_events`.
    """
    rng = np.random.default_rng(seed)
    patterns = tuple(_step_pattern(rng, i) for i in range(n_patterns))
    card, ts = _cards_and_instants(rng, n_events)
    columns: Columns = {"card": card, "ts": ts}
    columns |= {f"f{i}": np.round(rng.random(n_events), 4) for i in range(5)}
    columns |= {f"f{i}": np.round(rng.lognormal(3.3, 1.1, n_events), 4) for i in range(5, 8)}
    columns |= {f"f{i}": rng.integers(0, 200, n_events).astype(np.float64) for i in range(8, 10)}
    return columns, patterns


def thousand_ndjson(columns: Columns) -> list[bytes]:
    """The events of `thousand_patterns` as JSON records of about 190 bytes, with the fields of THOUSAND_FIELDS.

    Every number reads back as the same float64.
    """
    n = len(columns["ts"])
    numbers = (columns[f"f{i}"].tolist() for i in range(10))
    instants = (columns["ts"] + EPOCH_MS).tolist()
    return _written(THOUSAND_FIELDS, zip(range(n), columns["card"].tolist(), instants, *numbers, strict=True))


def _step_pattern(rng: np.random.Generator, number: int) -> StepPattern:
    return StepPattern(f"p{number:04d}", tuple(_step(rng) for _ in range(int(rng.integers(2, 5)))))


def _step(rng: np.random.Generator) -> Step:
    field = int(rng.integers(0, 10))
    if field >= 8:
        return Step(f"f{field}", "=", float(rng.integers(0, 200)))
    below = bool(rng.random() < 0.5)
    share = float(rng.uniform(0.001, 0.01))
    rank = share if below else 1 - share
    constant = rank if field < 5 else float(np.exp(3.3 + 1.1 * NormalDist().inv_cdf(rank)))
    return Step(f"f{field}", "<" if below else ">", round(constant, 4))


def dump_transactions(n: int = 2_000_000, out: Path = OUT) -> Path:
    """Write `transactions(n)` once as `card.i32 ts.i64 amount.f64 country.i32`; return their folder."""
    folder = out / f"transactions-{n}"
    if not (folder / "complete").exists():
        _dump(folder, transactions(n))
    return folder


def dump_thousand(n_events: int, n_patterns: int = 1000, out: Path = OUT) -> Path:
    """Write `thousand_patterns` once as `card.i32 ts.i64 f0.f64 .. f9.f64 patterns.txt`; return their folder.

    A line of `patterns.txt` is one pattern: its window in ms, then `field op constant` of each step, tab-separated.
    """
    folder = out / f"thousand_patterns-{n_events}-{n_patterns}"
    if not (folder / "complete").exists():
        columns, patterns = thousand_patterns(n_events, n_patterns)
        folder.mkdir(parents=True, exist_ok=True)
        lines = (
            "\t".join([str(p.within_ms), *(f"{s.field} {s.op} {s.constant!r}" for s in p.steps)]) for p in patterns
        )
        (folder / "patterns.txt").write_text("\n".join(lines) + "\n")
        _dump(folder, columns)
    return folder


_SUFFIXES = {"int32": "i32", "int64": "i64", "float64": "f64"}


def _dump(folder: Path, columns: Columns) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in columns.items():
        column.astype(column.dtype.newbyteorder("<")).tofile(folder / f"{name}.{_SUFFIXES[column.dtype.name]}")
    (folder / "complete").write_text(json.dumps({"events": len(columns["ts"])}) + "\n")
