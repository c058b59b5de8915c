"""What an event is: its declaration, its decoding, its columns, and the conditions that can be asked of it.

    errors       the error tree
    types        the types a field can have
    schema       a stream as it is declared
    expression   the text of a condition → a typed tree → a program over columns
    decode       bytes → columns, and what was rejected
    columns      a batch of events, the string table
    order        watermark, held events, late events

The innermost room: it imports no other.
"""
