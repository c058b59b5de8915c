"""The six types a field can have, and how each is stored in a column of int64.

| type           | stored as                                   |
|----------------|---------------------------------------------|
| int64          | itself                                      |
| float64        | its IEEE-754 bits                           |
| decimal(p, s)  | value x 10^s, an integer                    |
| bool           | 0 or 1                                      |
| instant        | microseconds since 1970, UTC                |
| string         | its code in the lane's string table (>= 0)  |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The name of a type as a stream declaration writes it."""

    INT64 = "int64"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    BOOL = "bool"
    INSTANT = "instant"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Type:
    """A field's type; precision and scale count for decimals only."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision}, {self.scale})" if self.kind is Kind.DECIMAL else self.kind.value

    @property
    def is_number(self) -> bool:
        """Can it be added and averaged?"""
        return self.kind in (Kind.INT64, Kind.FLOAT64, Kind.DECIMAL)


INT64 = Type(Kind.INT64)
FLOAT64 = Type(Kind.FLOAT64)
BOOL = Type(Kind.BOOL)
INSTANT = Type(Kind.INSTANT)
STRING = Type(Kind.STRING)
