"""Records that have fooled somebody, and the schema they are read with."""

from __future__ import annotations

import polars as pl

SCHEMA = pl.Schema(
    {
        "i": pl.Int64(),
        "f": pl.Float64(),
        "s": pl.String(),
        "b": pl.Boolean(),
        "st": pl.Struct({"x": pl.Int64(), "y": pl.String()}),
        "l": pl.List(pl.Int64()),
        "ls": pl.List(pl.String()),
        "lo": pl.List(pl.Struct({"p": pl.Float64(), "q": pl.String()})),
    }
)

VALUES = (
    b"null true false 0 -0 1 -1 1.0 1.5 -0.0 1e3 1E+2 1e-7 5e-324 1e-400 1e400 01 +1 1. .5 - 1_0 0x1",
    b"9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808",
    b"-9223372036854775809 18446744073709551616 340282366920938463463374607431768211455",
    b"340282366920938463463374607431768211456 -170141183460469231731687303715884105729",
    b"NaN Infinity -Infinity nul tru undefined",
    rb'"" "a" "1" "true" "null" "[1]" "{}" "\u00e9" "\n\t\\" "\"" "\/" "\x" "\u0000" "\u12"',
    rb'"\ud83d\ude00" "\ud800" "\ude00" "\ud83dx" "\ud83d\u0041" "\ud83d\ud83d\ude00" "\\ud800"',
    b'[] [1,2] [1,null] [1.5] ["a",1,true,null,1.50] [[1]] [[],{}] [{}] [1,{"a":1}] [1,] [,]',
    rb'{} {"x":1} {"x":1,"y":"a"} {"x":"1"} {"x":null} {"y":5} {"y":{"q":[1.0,"\\"]}} {"x":1,"z":2}',
    rb'{"x":1,"x":"b"} {"x":"b","x":1} {"z":1,"a":2,"z":3} {"a\"b\n":"\u0001\b\\"} {"x"} {x:1}',
    b'[{"p":1,"q":"a"},{"p":2.5},{}] [{"p":"1"}] [{"q":{"k":1}},null] [{"p":1,"r":2}] {"p":1}',
)
FIELDS = (b"i", b"f", b"s", b"b", b"st", b"l", b"ls", b"lo", b"unknown")

WHOLE = (
    None, b"", b" ", b"\n", b"\r\n \t", b"{}", b" {} ", b"null", b"true", b"1", b'"a"', b"[]",
    b"[1]", b'[{"i":1}]', b'{"i":1}{"i":2}', b'{"i":1}\n{"i":2}', b'{"i":1} {"i":2}',
    b'{"i":1},{"i":2}', b'{"i":1},', b',{"i":1}', b'{"i":1', b'{"i":1}}', b'{"i":1}x', b"x",
    b"{i:1}", b"{'i':1}", b'{"i":1,}', b'{"i" : 1 , "f" :2}', b'{"i":\n1}', b'\n{"i":1}\n',
    b'{"i":1}\r', b'\r{"i":\r1}', b'{"s":"a\nb"}', b'{"s":"a\rb"}', b'{"s":"a\tb"}',
    b'{"s":"\xff"}', b'{"\xff":1}', b"\xff", b'{"s":"\xed\xa0\x80"}', b'\xef\xbb\xbf{"i":1}',
    b'{"i":1}\x00', b"\x00", b'\x0b{"i":1}', b'\xc2\xa0{"i":1}', b'{"i":1}//c', b'{"i":1,"i":2}',
    b'{"i":1,"i":"x"}', b'{"i":"x","i":1}', b'{"i":null,"i":1}', b'{"i":1,"i":null}',
    b'{"\\u0069":1}', b'{"":1}', b'{"s":"\xc3\xa9"}', b'{"s":"foo : bar","i" :1}',
    b'{"_timestamp":5,"_timestamp_":6,"i":1}', '{"s":"\u2028\x7f"}'.encode(),
    b'{"s":{%s}}' % b",".join(b'"k%d":%d' % (i, i) for i in range(40)),
    b'{%s,"i":1}' % b",".join(b'"k%d":%d' % (i, i) for i in range(40)),
    b'{"i":1,%s,"i":2}' % b",".join(b'"k%d":%d' % (i, i) for i in range(40)),
    b'{"unknown":%s}' % (b"[" * 150 + b"]" * 150),
    b'{"i":1,"f":2,"s":"x","b":true,"st":{"x":1,"y":"z"},"l":[],"ls":[],"lo":[]}',
)  # fmt: skip


def records() -> list[bytes | None]:
    """Every odd value in every field, and every odd document."""
    values = [value for row in VALUES for value in row.split(b" ")]
    return [
        *WHOLE,
        *(b'{"%s":%s}' % (field, value) for field in FIELDS for value in values),
    ]
