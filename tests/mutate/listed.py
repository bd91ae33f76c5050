"""All mutants."""

from __future__ import annotations

from tests.mutate.late import LATE
from tests.mutate.mutant import Mutant
from tests.mutate.states import STATES
from tests.mutate.windows import WINDOWS

MUTANTS: tuple[Mutant, ...] = (*LATE, *WINDOWS, *STATES)
