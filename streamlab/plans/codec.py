"""The binary form in which polars writes expressions (msgpack), read and written back.

JSON would be easier to look at, but is no way back: one float literal in ten comes back changed in
its last bit, and NaN and infinity not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

Value: TypeAlias = (
    "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
)

_CONSTANTS: dict[int, Value] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_SIZES = (">B", ">H", ">I")
_BYTES, _TEXT, _LIST, _MAP = 0xC4, 0xD9, 0xDC, 0xDE


def unpack(data: bytes) -> Value:
    """The value that `data` holds.

    Raises:
        ValueError: it is not msgpack, or more than one value.
    """
    reader = _Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes too many")
    return value


def pack(value: Value) -> bytes:
    """The value as msgpack."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


class _Reader:
    """One pass over the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.sized: dict[int, tuple[str, Callable[[int], Value]]] = {}
        for first, read, sizes in (
            (_BYTES, self.take, _SIZES),
            (_TEXT, self.text, _SIZES),
            (_LIST, self.items, _SIZES[1:]),
            (_MAP, self.mapping, _SIZES[1:]),
        ):
            for step, size in enumerate(sizes):
                self.sized[first + step] = (size, read)

    def value(self) -> Value:
        head = self.take(1)[0]
        if head in _CONSTANTS:
            return _CONSTANTS[head]
        if head in _NUMBERS:
            return self.number(_NUMBERS[head])
        if head in self.sized:
            size, read = self.sized[head]
            return read(int(self.number(size)))
        return self.short(head)

    def short(self, head: int) -> Value:
        """Values whose size is part of their first byte."""
        if head < 0x80:
            return head
        if head < 0x90:
            return self.mapping(head & 0x0F)
        if head < 0xA0:
            return self.items(head & 0x0F)
        if head < 0xC0:
            return self.text(head & 0x1F)
        if head < 0xE0:
            raise ValueError(f"byte {head:#x} at {self.at - 1}")
        return head - 0x100

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise ValueError("the bytes end early")
        self.at += count
        return piece

    def number(self, form: str) -> int | float:
        found: int | float = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def text(self, count: int) -> str:
        return self.take(count).decode()

    def items(self, count: int) -> list[Value]:
        return [self.value() for _ in range(count)]

    def mapping(self, count: int) -> dict[str, Value]:
        return {str(self.value()): self.value() for _ in range(count)}


def _write(value: Value, out: bytearray) -> None:
    if value is None or isinstance(value, bool):
        out.append({None: 0xC0, False: 0xC2, True: 0xC3}[value])
    elif isinstance(value, int):
        out += _whole(value)
    elif isinstance(value, float):
        out += b"\xcb" + struct.pack(">d", value)
    elif isinstance(value, str):
        encoded = value.encode()
        out += _head(_TEXT, len(encoded), _SIZES) + encoded
    elif isinstance(value, bytes):
        out += _head(_BYTES, len(value), _SIZES) + value
    else:
        _write_nested(value, out)


def _write_nested(value: list[Value] | dict[str, Value], out: bytearray) -> None:
    out += _head(_LIST if isinstance(value, list) else _MAP, len(value), _SIZES[1:])
    if isinstance(value, list):
        for item in value:
            _write(item, out)
        return
    for key, item in value.items():
        _write(key, out)
        _write(item, out)


def _whole(value: int) -> bytes:
    if value < 0:
        return b"\xd3" + struct.pack(">q", value)
    return b"\xcf" + struct.pack(">Q", value)


def _head(first: int, count: int, sizes: tuple[str, ...]) -> bytes:
    for step, form in enumerate(sizes):
        if count < 1 << 8 * struct.calcsize(form):
            return bytes([first + step]) + struct.pack(form, count)
    raise ValueError(f"{count} items are too many")
