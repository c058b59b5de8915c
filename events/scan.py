"""One pass over JSON bytes: the fields that a stream needs, as columns, for records that are written plainly.

    buffer   {"card":"c1","at":17,"amount":2.50}\\0{"card":…}\\0…\\0\\0     records as `Texts` has them
                        │
                        ▼
    values   int64[c, n]     nulls   uint8[c, n]     at_us   int64[n]     ids   int64[n, 2] (number; or from and to)
    good     uint8[n]: 0 where the kernel isn't sure

The kernel never rejects and never guesses. What it isn't sure of — anything wrong, an escape in a text that is needed,
a name twice, an exponent in a decimal, a double that more than one multiplication makes — it leaves to msgspec, which
has the last word (`events.decode`). What it takes it takes as msgspec would: tests compare the two.

It reads eight bytes at a time and never asks for the end of the buffer: a NUL is neither white space, nor a digit, nor
allowed in a text, so every loop stops at it. Names are compared as words, first those that come next as declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic as _intrinsic

from events.columns import I64, U8, StringTable
from events.kernel import compiled, inlined
from events.schema import Field, Format
from events.texts import Texts
from events.types import Kind, Type

U64 = npt.NDArray[np.uint64]

FIELDS_MAX = 64
"""The kernel keeps one bit for each."""

TEXT_BYTES_MAX = 40
"""Longer texts get their codes one by one."""

TEXTS_MAX = 1 << 19
"""Texts remembered with their codes (64 MB); beyond, all are forgotten and learnt again."""

# --- the plan: int64[f, 8], one row per field ---

OP, SCALE, LOW, HIGH, NULLABLE, ROW, USE, NAME_SIZE = range(8)
"""SCALE: decimals of a number; what an integer is multiplied by (-1000: divided by 1000).
LOW, HIGH: bounds of the number before that.   ROW: of `values`, -1 for none.   USE: below"""

INTEGER, DECIMAL, FLOAT, BOOL, TEXT, ZONED, LOCAL, SKIP = range(8)
IS_TIME, IS_ID = 1, 2

MISSED, LARGEST = range(2)

QUOTE, COMMA, COLON, MINUS, PLUS, POINT, BACKSLASH = (ord(sign) for sign in '",:-+.\\')
OBJECT, OBJECT_END, ARRAY, ARRAY_END = (ord(sign) for sign in "{}[]")
ZERO, NINE, SMALL_E, BIG_E, T, F, N, Z, BIG_T, BIG_Z = (ord(sign) for sign in "09eEtfnzTZ")

DAY_US = 86_400_000_000
INSTANT_US_MIN = -62_135_596_800_000_000
INSTANT_US_MAX = 253_402_300_799_999_999


intrinsic: Any = _intrinsic

# --- bytes and words --------------------------------------------------------------------------------------------------


@intrinsic
def word(typing: Any, buffer: Any, at: Any) -> Any:
    """The eight bytes from `at` on, the first the lowest; `at` need not be a multiple of eight."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        to_word = context.get_value_type(types.CPointer(types.uint64))  # type: ignore[no-untyped-call]  # numba's, typed in part
        found = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), to_word))
        found.align = 1
        return found

    return types.uint64(buffer, at), code


@intrinsic
def byte(typing: Any, buffer: Any, at: Any) -> Any:
    """buffer[at] without the care for negative places."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load(builder.gep(array.data, [args[1]]))

    return types.uint8(buffer, at), code


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """The place of the lowest 1."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, False))

    return types.int64(bits), code


@intrinsic
def bits_of(typing: Any, number: Any) -> Any:
    """The bits of a float64."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(number), code


MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
"""What keeps the first `size` bytes of a word."""

LOW_BITS, HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
QUOTES, BACKSLASHES, SPACES = (np.uint64(ord(sign) * 0x0101010101010101) for sign in '"\\ ')
FOUR, FIVE = np.uint64(2**32 - 1), np.uint64(2**40 - 1)
TRUE, FALSE, NULL = (np.uint64(int.from_bytes(text, "little")) for text in (b"true", b"false", b"null"))
NONE = np.uint64(0)


@compiled
def text_end(buffer: U8, i: int) -> Any:
    """The first quote, backslash or control character from `i` on.

    x - LOW_BITS & ~x & HIGH_BITS marks the lowest zero byte of x exactly (higher marks may be false).
    """
    while True:
        x = word(buffer, i)
        quote, backslash = x ^ QUOTES, x ^ BACKSLASHES
        found = (quote - LOW_BITS) & ~quote | (backslash - LOW_BITS) & ~backslash | (x - SPACES) & ~x
        found &= HIGH_BITS
        if found != NONE:
            return i + (lowest_bit(found) >> 3)
        i += 8


@compiled
def space_end(buffer: U8, i: int) -> int:
    """The first byte from `i` on that isn't white space."""
    b = byte(buffer, i)
    while b <= 32 and (b == 32 or b == 10 or b == 13 or b == 9):
        i += 1
        b = byte(buffer, i)
    return i


@compiled
def skip_text(buffer: U8, i: int) -> int:
    """`i` is behind the opening quote. Numbered escapes are left to msgspec: surrogates must come in pairs."""
    while True:
        i = text_end(buffer, i)
        if byte(buffer, i) == QUOTE:
            return i + 1
        if byte(buffer, i) != BACKSLASH:
            return -1
        e = byte(buffer, i + 1)
        # " \ / b f n r t
        if not (e == 34 or e == 92 or e == 47 or e == 98 or e == 102 or e == 110 or e == 114 or e == 116):
            return -1
        i += 2


@compiled
def skip_digits(buffer: U8, i: int) -> int:
    """One or more."""
    first = i
    while ZERO <= byte(buffer, i) <= NINE:
        i += 1
    return i if i > first else -1


@compiled
def skip_number(buffer: U8, i: int) -> int:
    """-?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?"""
    if byte(buffer, i) == MINUS:
        i += 1
    if byte(buffer, i) == ZERO:
        i += 1
    else:
        i = skip_digits(buffer, i)
    if i >= 0 and byte(buffer, i) == POINT:
        i = skip_digits(buffer, i + 1)
    if i >= 0 and (byte(buffer, i) == SMALL_E or byte(buffer, i) == BIG_E):
        i += 1
        if byte(buffer, i) == PLUS or byte(buffer, i) == MINUS:
            i += 1
        i = skip_digits(buffer, i)
    return i


@compiled
def skip_word(buffer: U8, i: int) -> int:
    """true, false, null"""
    x = word(buffer, i)
    if x & FOUR == TRUE or x & FOUR == NULL:
        return i + 4
    return i + 5 if x & FIVE == FALSE else -1


@compiled
def skip_scalar(buffer: U8, i: int) -> int:
    """A text, number, true, false or null."""
    b = byte(buffer, i)
    if b == QUOTE:
        return skip_text(buffer, i + 1)
    if b == MINUS or ZERO <= b <= NINE:
        return skip_number(buffer, i)
    return skip_word(buffer, i)


@compiled
def skip_name(buffer: U8, i: int) -> int:
    """A member's name and its colon; answers the place of the value."""
    if byte(buffer, i) != QUOTE:
        return -1
    i = skip_text(buffer, i + 1)
    if i < 0:
        return -1
    i = space_end(buffer, i)
    return space_end(buffer, i + 1) if byte(buffer, i) == COLON else -1


@compiled
def skip_value(buffer: U8, i: int) -> int:
    """Any value. `objects` has a bit for each open bracket, the innermost the lowest, 1 for an object."""
    depth, objects = 0, NONE
    while True:
        b = byte(buffer, i)
        if b in (OBJECT, ARRAY):
            if depth == 64:
                return -1
            depth += 1
            objects = objects << np.uint64(1) | np.uint64(b == OBJECT)
            i = space_end(buffer, i + 1)
            if byte(buffer, i) != (OBJECT_END if b == OBJECT else ARRAY_END):
                if b == OBJECT:
                    i = skip_name(buffer, i)
                    if i < 0:
                        return -1
                continue
        else:
            i = skip_scalar(buffer, i)
            if i < 0 or depth == 0:
                return i
        # Behind a value, or at the bracket that ends an empty container.
        while True:
            i = space_end(buffer, i)
            inside_object = objects & np.uint64(1) != NONE
            b = byte(buffer, i)
            if b == COMMA:
                i = space_end(buffer, i + 1)
                if inside_object:
                    i = skip_name(buffer, i)
                    if i < 0:
                        return -1
                break
            if b != (OBJECT_END if inside_object else ARRAY_END):
                return -1
            i += 1
            depth -= 1
            objects >>= np.uint64(1)
            if depth == 0:
                return i


# --- what is needed: (the place behind it or -1 if unsure, the value) ---


@compiled
def whole_number(buffer: U8, i: int) -> tuple[Any, Any]:
    """An int64."""
    minus = byte(buffer, i) == MINUS
    if minus:
        i += 1
    first, size = i, np.uint64(0)
    b = byte(buffer, i)
    while ZERO <= b <= NINE:
        size = size * np.uint64(10) + np.uint64(b - ZERO)
        i += 1
        b = byte(buffer, i)
    digits = i - first
    if digits == 0 or digits > 19 or (digits > 1 and byte(buffer, first) == ZERO):
        return -1, 0
    if b in (POINT, SMALL_E, BIG_E) or size > np.uint64(2**63 - 1):
        return -1, 0
    return i, -np.int64(size) if minus else np.int64(size)


@compiled
def decimal(buffer: U8, i: int, scale: int) -> tuple[Any, Any]:
    """A number without exponent x 10^scale; decimals beyond `scale` must be 0."""
    minus = byte(buffer, i) == MINUS
    if minus:
        i += 1
    first, size = i, np.int64(0)
    b = byte(buffer, i)
    while ZERO <= b <= NINE:
        size = size * 10 + np.int64(b) - ZERO
        i += 1
        b = byte(buffer, i)
    digits, left = i - first, scale
    if digits == 0 or (digits > 1 and byte(buffer, first) == ZERO):
        return -1, 0
    if b == POINT:
        i += 1
        first = i
        b = byte(buffer, i)
        while ZERO <= b <= NINE:
            if left > 0:
                size = size * 10 + np.int64(b) - ZERO
                left -= 1
                digits += 1
            elif b != ZERO:
                return -1, 0
            i += 1
            b = byte(buffer, i)
        if i == first:
            return -1, 0
    if b in (SMALL_E, BIG_E) or digits + left > 18:
        return -1, 0
    while left > 0:
        size *= 10
        left -= 1
    return i, -size if minus else size


POWERS = np.array([10.0**power for power in range(23)])
"""All powers of ten that are doubles."""


@compiled
def double(buffer: U8, i: int) -> tuple[Any, Any]:
    """The bits of the nearest double, where one operation on two exact doubles gives it (W. D. Clinger, 1990)."""
    minus = byte(buffer, i) == MINUS
    end = skip_number(buffer, i)
    if end < 0:
        return -1, 0
    size, digits, decimals, is_whole = np.uint64(0), 0, 0, True
    exponent: Any = 0
    i += 1 if minus else 0
    while i < end:
        b = byte(buffer, i)
        if b == POINT:
            is_whole = False
            decimals = digits
        elif b in (SMALL_E, BIG_E):
            break
        else:
            size = size * np.uint64(10) + np.uint64(b - ZERO)
            digits += 1
        i += 1
    decimals = 0 if is_whole else digits - decimals
    if i < end:
        is_whole = False
        i += 1
        below = byte(buffer, i) == MINUS
        if below or byte(buffer, i) == PLUS:
            i += 1
        if end - i > 4:
            return -1, 0
        while i < end:
            exponent = exponent * 10 + np.int64(byte(buffer, i)) - ZERO
            i += 1
        exponent = -exponent if below else exponent
    exponent -= decimals
    if digits > 19 or size > np.uint64(2**53):
        return -1, 0
    number = np.float64(size)
    if 0 < exponent <= 22:
        number *= POWERS[exponent]
    elif -22 <= exponent < 0:
        number /= POWERS[-exponent]
    elif exponent != 0 and size != np.uint64(0):
        return -1, 0
    return end, bits_of(-number if minus and not (is_whole and size == np.uint64(0)) else number)


@compiled
def two_digits(buffer: U8, i: int) -> Any:
    """The number, or -1000."""
    tens, ones = np.int64(byte(buffer, i)) - ZERO, np.int64(byte(buffer, i + 1)) - ZERO
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -1000


@compiled
def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, years from 1; -1_000_000 for a day that isn't there.

    Years begin in March, so that the odd day is the last; 719468 days lie between 0000-03-01 and 1970-01-01.
    """
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    length = 31 - (month == 4 or month == 6 or month == 9 or month == 11) - (3 - leap) * (month == 2)
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= length):
        return -1_000_000
    y = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * y + y // 4 - y // 100 + y // 400 + of_year - 719_468


@compiled
def instant(buffer: U8, i: int, end: int, zoned: bool) -> tuple[Any, Any]:
    """yyyy-mm-ddThh:mm:ss[.f{1,6}](Z|±hh:mm), the zone only if `zoned`; `end` is the closing quote."""
    if end - i < 19:
        return -1, 0
    t = byte(buffer, i + 10)
    shape = byte(buffer, i + 4) == MINUS and byte(buffer, i + 7) == MINUS and (t == BIG_T or t == 116 or t == 32)
    if not (shape and byte(buffer, i + 13) == COLON and byte(buffer, i + 16) == COLON):
        return -1, 0
    century, year = two_digits(buffer, i), two_digits(buffer, i + 2)
    days = days_of(century * 100 + year, two_digits(buffer, i + 5), two_digits(buffer, i + 8))
    hour, minute, second = two_digits(buffer, i + 11), two_digits(buffer, i + 14), two_digits(buffer, i + 17)
    if century < 0 or year < 0 or days == -1_000_000:
        return -1, 0
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return -1, 0
    us = days * DAY_US + ((hour * 60 + minute) * 60 + second) * 1_000_000
    i += 19
    if byte(buffer, i) == POINT:
        first, unit = i + 1, 100_000
        i = first
        while ZERO <= byte(buffer, i) <= NINE and unit > 0:
            us += (np.int64(byte(buffer, i)) - ZERO) * unit
            unit //= 10
            i += 1
        if i == first:
            return -1, 0
    if not zoned:
        return (i if i == end else -1), us
    if byte(buffer, i) == BIG_Z or byte(buffer, i) == 122:
        return (i + 1 if i + 1 == end else -1), us
    sign = byte(buffer, i)
    ahead, rest = two_digits(buffer, i + 1), two_digits(buffer, i + 4)
    if (sign != PLUS and sign != MINUS) or byte(buffer, i + 3) != COLON or i + 6 != end:
        return -1, 0
    if not (0 <= ahead <= 23 and 0 <= rest <= 59):
        return -1, 0
    zone_us = (ahead * 60 + rest) * 60_000_000
    us = us + zone_us if sign == MINUS else us - zone_us
    return (end if INSTANT_US_MIN <= us <= INSTANT_US_MAX else -1), us


# --- texts and their codes: uint64[2^k, 8], a cache line each ---------------------------------------------------------
#
#     hash │ code + 1, 0 where empty │ bytes │ up to 40 bytes of text


@compiled
def text_hash(buffer: U8, at: int, size: int) -> Any:
    """Of `size` bytes."""
    mixed = np.uint64(size) * np.uint64(0x9E3779B97F4A7C15)
    while size > 8:
        mixed = (mixed ^ word(buffer, at)) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(32)
        at += 8
        size -= 8
    mixed = (mixed ^ word(buffer, at) & MASKS[size]) * np.uint64(0xC4CEB9FE1A85EC53)
    return mixed ^ mixed >> np.uint64(29)


@compiled
def place_of(buffer: U8, at: int, size: int, table: U64) -> Any:
    """Where the text of at most TEXT_BYTES_MAX bytes is in the table, or where it goes."""
    mixed = text_hash(buffer, at, size)
    mask = np.uint64(len(table) - 1)
    place = np.int64(mixed & mask)
    while table[place, 1] != NONE:
        if table[place, 0] == mixed and table[place, 2] == np.uint64(size):
            same, column, i, left = True, 3, at, size
            while left > 8 and same:
                same = table[place, column] == word(buffer, i)
                column += 1
                i += 8
                left -= 8
            if same and table[place, column] == word(buffer, i) & MASKS[left]:
                return place
        place = np.int64(np.uint64(place + 1) & mask)
    return place


@compiled
def learn(buffer: U8, texts: I64, codes: I64, table: U64) -> int:
    """Enters the texts (int64[m, 4], as `misses`) with their codes; answers how many were new."""
    new = 0
    for row in range(len(texts)):
        at, size = texts[row, 2], texts[row, 3]
        if size > TEXT_BYTES_MAX:
            continue
        place = place_of(buffer, at, size, table)
        if table[place, 1] == NONE:
            new += 1
            table[place, 0] = text_hash(buffer, at, size)
            table[place, 2] = np.uint64(size)
            for column in range(3, 8):
                left = max(0, min(8, size - 8 * (column - 3)))
                table[place, column] = word(buffer, at + 8 * (column - 3)) & MASKS[left] if left else NONE
        table[place, 1] = np.uint64(codes[row] + 1)
    return new


@compiled
def move(old: U64, new: U64) -> None:
    """Enters all of one table into another, larger one."""
    mask = np.uint64(len(new) - 1)
    for row in range(len(old)):
        if old[row, 1] != NONE:
            place = np.int64(old[row, 0] & mask)
            while new[place, 1] != NONE:
                place = np.int64(np.uint64(place + 1) & mask)
            for column in range(8):
                new[place, column] = old[row, column]


# --- records ----------------------------------------------------------------------------------------------------------


@compiled
def field_of(buffer: U8, at: int, size: int, plan: I64, names: U64, following: int) -> int:
    """The field of that name, tried from `following` on; -1 for none."""
    head = word(buffer, at) & MASKS[min(size, 8)]
    for step in range(len(plan)):
        field = following + step
        if field >= len(plan):
            field -= len(plan)
        if plan[field, NAME_SIZE] == size and names[field, 0] == head:
            column, left = 1, size - 8
            while left > 0 and names[field, column] == word(buffer, at + 8 * column) & MASKS[min(left, 8)]:
                column += 1
                left -= 8
            if left <= 0:
                return field
    return -1


@inlined
def record(
    buffer: U8, i: int, r: int, plan: I64, names: U64, required: np.uint64, values: I64, nulls: U8, at_us: I64,
    ids: I64, misses: I64, counts: I64, table: U64,
) -> int:  # fmt: skip
    """Record r, from `i` on: fills its places in the columns; answers the place of the NUL behind it, -1 if unsure.

    `misses` has room: a record has each name once, or it is left to msgspec.
    """
    i = space_end(buffer, i)
    if byte(buffer, i) != OBJECT:
        return -1
    seen, following = NONE, 0
    i = space_end(buffer, i + 1)
    while True:
        if byte(buffer, i) != QUOTE:
            return -1
        name = i + 1
        i = text_end(buffer, name)
        if byte(buffer, i) != QUOTE:
            return -1
        field = field_of(buffer, name, i - name, plan, names, following)
        i += 1
        if byte(buffer, i) != COLON:
            i = space_end(buffer, i)
            if byte(buffer, i) != COLON:
                return -1
        i = space_end(buffer, i + 1)
        if field >= 0:
            following = field + 1
        if field < 0 or plan[field, OP] == SKIP:
            b = byte(buffer, i)
            i = skip_value(buffer, i) if b in (OBJECT, ARRAY) else skip_scalar(buffer, i)
        else:
            bit = np.uint64(1) << np.uint64(field)
            if seen & bit != NONE:
                return -1
            seen |= bit
            op, row, use = plan[field, OP], plan[field, ROW], plan[field, USE]
            value: Any = 0
            null = False
            if byte(buffer, i) == N:
                null = plan[field, NULLABLE] == 1 and word(buffer, i) & FOUR == NULL
                i = i + 4 if null else -1
            elif op == TEXT:
                at = i + 1
                i = text_end(buffer, at) + 1 if byte(buffer, i) == QUOTE else -1
                if i < 0 or byte(buffer, i - 1) != QUOTE:
                    return -1
                size = i - 1 - at
                if use == IS_ID:
                    if not 1 <= size <= 256:
                        return -1
                    ids[r, 0], ids[r, 1] = at, at + size
                if row >= 0:
                    place = place_of(buffer, at, size, table) if size <= TEXT_BYTES_MAX else -1
                    if place >= 0 and table[place, 1] != NONE:
                        value = np.int64(table[place, 1]) - 1
                    else:
                        miss = counts[MISSED]
                        misses[miss, 0], misses[miss, 1], misses[miss, 2], misses[miss, 3] = r, row, at, size
                        counts[MISSED] += 1
            elif op == INTEGER:
                i, value = whole_number(buffer, i)
                if not plan[field, LOW] <= value <= plan[field, HIGH]:
                    return -1
                value = value * plan[field, SCALE] if plan[field, SCALE] > 0 else value // -plan[field, SCALE]
            elif op == DECIMAL:
                i, value = decimal(buffer, i, plan[field, SCALE])
                if not plan[field, LOW] <= value <= plan[field, HIGH]:
                    return -1
            elif op == BOOL:
                value = np.int64(byte(buffer, i) == T)
                i = skip_word(buffer, i)
            elif op == FLOAT:
                i, value = double(buffer, i)
            else:
                at = i + 1
                i = text_end(buffer, at) if byte(buffer, i) == QUOTE else -1
                if i < 0 or byte(buffer, i) != QUOTE:
                    return -1
                i, value = instant(buffer, at, i, op == ZONED)
                i = i + 1 if i >= 0 else -1
            if row >= 0:
                values[row, r], nulls[row, r] = value, null
            if use == IS_TIME:
                at_us[r] = value
            elif use == IS_ID and op == INTEGER:
                ids[r, 0] = value
        if i < 0:
            return -1
        i = space_end(buffer, i)
        b = byte(buffer, i)
        i = space_end(buffer, i + 1)
        if b == OBJECT_END:
            break
        if b != COMMA:
            return -1
    if byte(buffer, i) != 0 or seen & required != required:
        return -1
    for field in range(len(plan)):
        row = plan[field, ROW]
        if row >= 0 and (seen >> np.uint64(field)) & np.uint64(1) == NONE:
            values[row, r], nulls[row, r] = 0, True
    return i


@compiled
def is_ascii(buffer: U8, first: int, last: int) -> Any:
    """Has no byte from `first` to `last` its highest bit?"""
    bits, words = NONE, (last - first) >> 3
    for number in range(words):
        bits |= word(buffer, first + 8 * number)
    for at in range(first + 8 * words, last):
        bits |= np.uint64(byte(buffer, at))
    return bits & HIGH_BITS == NONE


@compiled
def records(
    buffer: U8, begins: I64, ends: I64, plan: I64, names: U64, required: np.uint64, values: I64, nulls: U8, at_us: I64,
    ids: I64, misses: I64, table: U64, good: U8, counts: I64,
) -> None:  # fmt: skip
    """All records, one for each place of `good`; those that have 0 there are not looked at.

    A record with a NUL inside seems to end there, before its end: it isn't good.

    misses: int64[counts[MISSED], 4]: texts without a code, as (record, row of values, place in the buffer, bytes)
    counts: int64[2], zero before: MISSED; LARGEST, the bytes of the largest record
    """
    for r in range(len(good)):
        missed = counts[MISSED]
        end: Any = -1
        if good[r] != 0:
            end = record(buffer, begins[r], r, plan, names, required, values, nulls, at_us, ids, misses, counts, table)
        good[r] = end == ends[r]
        if end != ends[r]:
            counts[MISSED] = missed
        counts[LARGEST] = max(counts[LARGEST], ends[r] - begins[r])


# --- from Python ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scanned:
    """n records, c columns; what belongs to a record that isn't good is undefined.

    values, nulls, at_us: as in `Decoded`, by record      ids: text by record, None where the stream names none
    good:                 bool[n]                         largest: bytes of the largest record
    """

    values: I64
    nulls: U8
    at_us: I64
    ids: list[str] | None
    good: npt.NDArray[np.bool_]
    largest: int


class Scanner:
    """The plan of a stream's fields, and the texts whose codes are known."""

    def __init__(
        self, fields: Sequence[Field], rows: Sequence[int | None], columns: int, event_time: str, event_id: str | None,
        strings: StringTable,
    ) -> None:  # fmt: skip
        """fields: at most FIELDS_MAX, in the order that is usual in records
        rows:   of each field, its row among `columns`; -1 where it is only checked, None where it isn't needed: a name
                that is known is found at once where it is expected
        """
        sizes = [len(field.name.encode()) for field in fields]
        self._plan = np.array(
            [
                _step(field, row, size, event_time, event_id)
                for field, row, size in zip(fields, rows, sizes, strict=True)
            ],
            np.int64,
        )
        width = (max(sizes) + 7) // 8 * 8
        padded = b"".join(field.name.encode().ljust(width, b"\0") for field in fields)
        self._names = np.frombuffer(padded, "<u8").astype(np.uint64).reshape(len(fields), width // 8)
        is_required = (self._plan[:, NULLABLE] == 0) & (self._plan[:, OP] != SKIP)
        self._required = np.uint64(sum(1 << place for place in np.flatnonzero(is_required).tolist()))
        self._foreign = np.setdiff1d(np.arange(columns), self._plan[:, ROW])
        self._texts_each = int(((self._plan[:, OP] == TEXT) & (self._plan[:, ROW] >= 0)).sum())
        self._columns = columns
        self._id_op = next((_operation(field)[0] for field in fields if field.name == event_id), None)
        self._known = KnownTexts(strings)

    def scan(self, raw: Sequence[bytes]) -> Scanned:
        """The columns of `raw`, where the kernel is sure; valid UTF-8 is part of it.

        Raises LimitReached when the string table is full; nothing is lost then.
        """
        n, texts = len(raw), Texts.of(raw)
        ascii_only = bool(is_ascii(texts.array, *texts.stretch()))
        good = np.ones(n, np.bool_) if ascii_only else np.fromiter(map(_is_utf8, texts), np.bool_, n)
        values, nulls = np.empty((self._columns, n), np.int64), np.empty((self._columns, n), np.uint8)
        if len(self._foreign):
            values[self._foreign], nulls[self._foreign] = 0, 1
        at_us, ids = np.empty(n, np.int64), np.zeros((n, 2), np.int64)
        misses, counts = np.empty((n * self._texts_each, 4), np.int64), np.zeros(2, np.int64)
        records(
            texts.array, texts.begins, texts.ends, self._plan, self._names, self._required, values, nulls, at_us, ids,
            misses, self._known.table(), good.view(np.uint8), counts,
        )  # fmt: skip
        missed, largest = counts.tolist()
        if missed:
            self._known.find(texts.array, misses[:missed], values)
        return Scanned(values, nulls, at_us, self._ids(texts, ids, good, ascii_only), good, largest)

    def _ids(self, texts: Texts, ids: I64, good: npt.NDArray[np.bool_], ascii_only: bool) -> list[str] | None:
        if self._id_op is None:
            return None
        if self._id_op == INTEGER:
            ids[~good] = 0
            return list(map(str, ids[:, 0].tolist()))
        start, stop = texts.stretch()
        ids[~good] = start
        first, last = (ids[:, 0] - start).tolist(), (ids[:, 1] - start).tolist()
        whole = texts.array[start:stop].tobytes()
        if ascii_only:
            text = whole.decode("ascii")
            return [text[begin:end] for begin, end in zip(first, last, strict=True)]
        return [whole[begin:end].decode() for begin, end in zip(first, last, strict=True)]


def _is_utf8(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


def _operation(field: Field) -> tuple[int, int, int, int]:
    """(OP, SCALE, LOW, HIGH)"""
    kind, least, most = field.type.kind, -(2**63), 2**63 - 1
    if kind is Kind.INT64:
        return INTEGER, 1, least, most
    if kind is Kind.DECIMAL:
        most = 10**field.type.precision - 1
        return DECIMAL, field.type.scale, -most, most
    if kind is not Kind.INSTANT:
        return {Kind.FLOAT64: FLOAT, Kind.BOOL: BOOL, Kind.STRING: TEXT}[kind], 0, 0, 0
    return {
        Format.RFC3339: (ZONED, 0, 0, 0),
        Format.DATETIME: (LOCAL, 0, 0, 0),
        Format.EPOCH_S: (DECIMAL, 6, -(2**52), 2**52),  # beyond, a double has no microseconds
        Format.EPOCH_MS: (INTEGER, 1_000, INSTANT_US_MIN // 1_000, INSTANT_US_MAX // 1_000),
        Format.EPOCH_US: (INTEGER, 1, INSTANT_US_MIN, INSTANT_US_MAX),
        Format.EPOCH_NS: (INTEGER, -1_000, least, most),
    }[field.format]


def _step(field: Field, row: int | None, size: int, event_time: str, event_id: str | None) -> list[int]:
    """One row of the plan."""
    if row is None:
        return [SKIP, 0, 0, 0, 1, -1, 0, size]
    use = IS_TIME if field.name == event_time else IS_ID if field.name == event_id else 0
    return [*_operation(field), field.nullable, row, use, size]


class KnownTexts:
    """Codes of the string table by the bytes of their texts, until the table recycles."""

    def __init__(self, strings: StringTable) -> None:
        self._strings = strings
        self._forget(1024)

    def _forget(self, size: int) -> None:
        self._table = np.zeros((size, 8), np.uint64)
        self._used = 0
        self._generation = self._strings.generation

    def table(self) -> U64:
        """uint64[2^k, 8] for the kernel."""
        if self._strings.generation != self._generation:
            self._forget(len(self._table))
        return self._table

    def find(self, buffer: U8, misses: I64, values: I64) -> None:
        """Puts the codes of these texts into the columns and remembers them; new texts get codes in order of record."""
        code = self._strings.code
        view = buffer.data
        texts = [str(view[at : at + size], "utf-8") for at, size in misses[:, 2:].tolist()]
        codes = np.fromiter(map(code, texts), np.int64, len(texts))
        values[misses[:, 1], misses[:, 0]] = codes
        if 2 * (self._used + len(texts)) > len(self._table):
            self._make_room(len(texts))
        self._used += learn(buffer, misses, codes, self._table)

    def _make_room(self, more: int) -> None:
        size = len(self._table)
        while 2 * (self._used + more) > size:
            size *= 2
        old, used = self._table, self._used
        self._forget(size)
        if used + more <= TEXTS_MAX:
            move(old, self._table)
            self._used = used


def warm() -> None:
    """Runs every kernel once, so that no first event waits for its compilation."""
    fields = (Field("at", Type(Kind.INSTANT)), Field("text", Type(Kind.STRING)))
    record = b'{"at":"2026-01-01T00:00:00Z","text":"%d"}'
    scanned = Scanner(fields, (0, 1), 2, "at", None, StringTable()).scan([record % number for number in range(1000)])
    assert scanned.good.all()
