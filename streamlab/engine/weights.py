"""Exponentially weighted functions, row by row: their state is a few numbers a key."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from streamlab.engine.lookback import Commit, Given
from streamlab.plans.looks import Ewm

_STATE_BYTES = 400  # a list of seven floats, and its place in a dictionary


class Weighted:
    """The weighted mean so far and its weights, per key."""

    def __init__(self, options: Ewm, dtype: pl.DataType) -> None:
        """`dtype`: of the result."""
        self._options = options
        self._dtype = dtype
        # In single precision the last bits are those of single steps.
        self._number: Callable[[float], Any] = (
            np.float32 if dtype == pl.Float32 else float
        )
        self._states: dict[int, list[Any]] = {}

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return len(self._states) * _STATE_BYTES

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        """See `Memory`."""
        values = given.inputs.to_series().cast(self._dtype).to_list()
        slots = given.numbers.tolist()
        changed = {
            slot: list(self._states.get(slot) or self._nothing()) for slot in set(slots)
        }
        move = self._mean if self._options.what == "mean" else self._spread
        found = [
            move(changed[slot], value)
            for slot, value in zip(slots, values, strict=True)
        ]

        def commit() -> None:
            self._states.update(changed)

        return pl.Series(found, dtype=self._dtype), commit

    def _nothing(self) -> list[Any]:
        """Count, mean, weight of the mean, variance, sum of weights, of squared weights."""
        zero, one = self._number(0), self._number(1)
        return [0, None, one, zero, one, one]

    def _mean(self, state: list[Any], value: float | None) -> Any:
        options, number = self._options, self._number
        if value is None:
            if state[1] is not None and not options.ignore_nulls:
                state[2] *= number(1 - options.alpha)
            return None
        value = number(value)
        state[0] += 1
        if state[1] is None:
            state[1] = value
        else:
            old = state[2] * number(1 - options.alpha)
            new = number(1 if options.adjust else options.alpha)
            state[1] = state[1] + (value - state[1]) * (new / (old + new))
            state[2] = old + new if options.adjust else number(1)
        return state[1] if state[0] >= options.min_samples else None

    def _spread(self, state: list[Any], value: float | None) -> Any:
        options, number = self._options, self._number
        keep = number(1 - options.alpha)
        if value is None:
            if state[1] is not None and not options.ignore_nulls:
                self._fade(state, keep)
            return None
        value = number(value)
        state[0] += 1
        if state[1] is None:
            state[1] = value
        else:
            self._fade(state, keep)
            self._mix(state, value, number(1 if options.adjust else options.alpha))
        return self._result(state) if state[0] >= options.min_samples else None

    def _fade(self, state: list[Any], keep: Any) -> None:
        state[2] *= keep
        state[4] *= keep
        state[5] *= keep * keep

    def _mix(self, state: list[Any], value: Any, new: Any) -> None:
        old, before = state[2], state[1]
        mean = (old * before + new * value) / (old + new)
        spread = old * (state[3] + (before - mean) ** 2) + new * (value - mean) ** 2
        state[1], state[3] = mean, spread / (old + new)
        state[2], state[4], state[5] = old + new, state[4] + new, state[5] + new * new
        if not self._options.adjust:
            whole = state[2]
            state[2], state[4] = self._number(1), state[4] / whole
            state[5] = state[5] / (whole * whole)

    def _result(self, state: list[Any]) -> Any:
        spread = state[3]
        if not self._options.bias:
            square = state[4] * state[4]
            free = square - state[5]
            if not free > 0:
                return None
            spread = square / free * spread
        if self._options.what == "var":
            return spread
        return self._number(math.sqrt(spread)) if spread >= 0 else spread
