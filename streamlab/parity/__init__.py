"""The batch answer to a live frame, and whether the two are equal.

Payloads are read by Python's own `json` (`reference`), a plan is evaluated once over all rows
(`batch`), and the result is laid beside the live frame (`compare`). No code of `engine/` or
`formats/` takes part, or it would agree with itself.
"""

from __future__ import annotations

from streamlab.parity.batch import Expected, evaluate
from streamlab.parity.compare import Difference, compare
from streamlab.parity.reference import decode_reference

__all__ = ["Difference", "Expected", "compare", "decode_reference", "evaluate"]
