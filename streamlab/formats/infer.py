"""Choosing a topic's format and schema from a sample of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from streamlab import plugins
from streamlab.formats.base import Format, Inferred

ENOUGH = 0.95
# Confluent's registry frames a payload by a zero byte and the schema's number in four more.
_FRAME = 5


class Chosen(NamedTuple):
    """A format for a topic, and what its sample says.

    Attributes:
        format: reads and writes the payloads.
        inferred: the schema, with a remark, a share and an example per column.
        known: whether the sample held anything to go by; if not, the schema is unknown.
        sentence: what was chosen and why, for people.
        shares: of all records in the sample: "good" (of the format), "tombstone" (null),
            "empty" (blank), "broken" (the rest); they add up to 1, or are all 0 without records.
    """

    format: Format
    inferred: Inferred
    known: bool
    sentence: str
    shares: Mapping[str, float]


def choose(sample: Sequence[bytes | None], name: str | None = None) -> Chosen:
    """Choose a format and infer the schema.

    Args:
        sample: payloads from both ends of the topic, newest first.
        name: the format to use, if the user has named one.

    Raises:
        UnknownNameError: there is no format of that name.
    """
    payloads = [
        payload for payload in sample if payload is not None and payload.strip()
    ]
    chosen, reason = (_load(name), "as asked") if name else _look(payloads)
    fit = chosen.fits(payloads) if payloads else 0.0
    inferred = chosen.infer(sample)
    said = f"{_percent(fit)} of {len(payloads):,} records fit".replace(",", " ")
    if not payloads:
        said = "no record in the sample yet"
    return Chosen(
        chosen,
        inferred,
        bool(payloads),
        f"{chosen.name}, {reason}: {said}.",
        _shares(sample, fit),
    )


def _look(payloads: Sequence[bytes]) -> tuple[Format, str]:
    """The first format that nearly all payloads are of."""
    if not payloads:
        return _load("json"), "until a record says otherwise"
    json, text = _load("json"), _load("text")
    if (share := json.fits(payloads)) >= ENOUGH:
        return json, "since nearly all payloads are JSON objects"
    objects = (
        f"{_percent(share)} of the payloads are JSON objects" if share else "no JSON"
    )
    if schema := _confluent_schema(payloads):
        return _load("raw"), f"looks like Confluent Avro/Protobuf, schema {schema}"
    if text.fits(payloads) >= ENOUGH:
        return text, f"{objects}, but nearly all are UTF-8"
    return _load("raw"), f"{objects}, and not all are UTF-8"


def _confluent_schema(payloads: Sequence[bytes]) -> str:
    """The numbers of schemas in the payloads' frames; "" if most have no such frame."""
    framed = [p for p in payloads if len(p) > _FRAME and p[0] == 0]
    if len(framed) < ENOUGH * len(payloads):
        return ""
    numbers = sorted({int.from_bytes(payload[1:_FRAME]) for payload in framed})
    return ", ".join(map(str, numbers[:3])) + (" …" if len(numbers) > 3 else "")


def _shares(sample: Sequence[bytes | None], fit: float) -> dict[str, float]:
    total = len(sample) or 1
    tombstones = sum(payload is None for payload in sample)
    blank = sum(payload is not None and not payload.strip() for payload in sample)
    full = len(sample) - tombstones - blank
    return {
        "good": fit * full / total,
        "tombstone": tombstones / total,
        "empty": blank / total,
        "broken": (1 - fit) * full / total,
    }


def _load(name: str) -> Format:
    # A plug-in's module has no type of its own; `make` is what formats/base.py asks of it.
    return cast(Format, plugins.load("formats", name).make())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
