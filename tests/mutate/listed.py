"""All mutants."""

from __future__ import annotations

from tests.mutate.hopping import HOPPING
from tests.mutate.joins import JOINS
from tests.mutate.keyed import KEYED
from tests.mutate.late import LATE
from tests.mutate.mutant import Mutant
from tests.mutate.order import ORDER
from tests.mutate.retold import RETOLD
from tests.mutate.sessions import SESSIONS
from tests.mutate.states import STATES
from tests.mutate.windows import WINDOWS

MUTANTS: tuple[Mutant, ...] = (
    *LATE,
    *WINDOWS,
    *HOPPING,
    *SESSIONS,
    *RETOLD,
    *STATES,
    *KEYED,
    *ORDER,
    *JOINS,
)
