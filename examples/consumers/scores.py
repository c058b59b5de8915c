"""Reads the scores topic: every event that a model finds worth telling, exactly once, in any client of Kafka.

    python examples/consumers/scores.py localhost:9092 stakeout

A plain consumer that reads what was committed. It keeps its place in the consumer group; to act exactly once, keep the
place with what you do instead: `sequence` is gapless per `lane`.
"""

from __future__ import annotations

import json
import sys

from confluent_kafka import Consumer, KafkaException


def main(bootstrap: str, application: str, most: float = float("inf")) -> None:
    """Prints a line for each of the next `most` events."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{application}-scores-example",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",  # what a lane gave up is never seen
        }
    )
    consumer.subscribe([f"{application}-scores"])
    seen = 0
    try:
        while seen < most:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            scored = json.loads(message.value())
            key = " ".join(map(str, scored["key"].values()))
            sys.stdout.write(f"{scored['score']:.5f}  {key}  {scored['event_id']}  {scored['features']}\n")
            seen += 1
    finally:
        consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
