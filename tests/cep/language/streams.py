"""The streams that the tests of the language read."""

from __future__ import annotations

from events.schema import Stream, read_stream

TRANSACTIONS = read_stream("""
stream: transactions
event_time: {field: at, format: epoch_ms}
fields:
  card_id: string
  merchant_id: string
  country: string
  at: instant
  amount: decimal(12, 2)
  risk: float64
  attempts: int64
  online: bool
  pan: {type: string, sensitivity: secret}
""")

LOGINS = read_stream("""
stream: logins
event_time: {field: at, format: epoch_ms}
fields:
  card_id: string
  device: int64
  merchant_id: int64
  at: instant
  ok: bool
""")

STREAMS: dict[str, Stream] = {"transactions": TRANSACTIONS, "logins": LOGINS}
