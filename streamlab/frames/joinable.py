"""FRAME: a pipeline whose frames may be joined with those of other sources.

Belongs to the worker thread, as all of a pipeline does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from streamlab.engine.needs import Low
from streamlab.engine.outcome import Batch
from streamlab.frames.members import Member, Told, appended, shrink_to_fit
from streamlab.frames.pipeline import Pipeline, Take
from streamlab.intake import Intake
from streamlab.plans.nodes import Node, others
from streamlab.records import Offset, Partition, Records


class Joinable(Pipeline):
    """See the module's docstring; `node` is a second input, as it stands in the join.

    Attributes:
        ended: whether the source has come to its end.
    """

    ended = False

    def step(
        self,
        blocks: Sequence[Records],
        *,
        holding: frozenset[Partition],
        final: bool,
        done: Mapping[Partition, Offset],
        number: int = 0,
        take: Take = Intake.take,
    ) -> Low | None:
        """As `Pipeline.step`."""
        self.ended = final
        return super().step(
            blocks,
            holding=holding,
            final=final,
            done=done,
            number=number,
            take=take,
        )

    def step_other(self, node: Node, batch: Batch) -> bool:
        """Run a micro-batch of another source's frame through what joins it.

        Returns:
            False if no such join runs yet.
        """
        graph = self._wiring.graph
        joined = self._joined(node)
        if graph is None or all(member.handle is None for member in joined):
            return False
        told = self._put_derived(graph.step_other(node, batch))
        told = self._hold_state() | told
        shrink_to_fit(self.members, self.budget, told)
        self._publish()
        for member, change in told.items():
            member.tell(change)
        self._recompute(joined)
        self.outlets.put(self.outlets.number, told)
        return True

    def lost_other(self, node: Node, error: BaseException) -> None:
        """The other source of a join has failed, or was stopped."""
        joined = self._joined(node)
        for member in joined:
            self.failed(member, error)
        self._hold_state()
        self._publish()
        for member in joined:
            member.tell(appended(pl.DataFrame()))

    def rejoin(self, node: Node) -> None:
        """The other source of a join begins anew: what hangs on it does so too."""
        told: Told = {}
        joined = self._joined(node)
        for member in joined:
            self._wiring.disconnect(member)
            change = member.restart()
            if change is not None:
                told[member] = change
        if self._wiring.graph is not None:
            self._wiring.graph.forget_other(node)
        for member in joined:
            self._wiring.connect(member, self.published.done)
        told = self._hold_state() | told
        self._publish()
        for member, change in told.items():
            member.tell(change)
        self._recompute(joined)

    def front(self, member: Member) -> tuple[int | None, bool]:
        """How far the rows of a frame are, and whether nothing more will come."""
        graph = self._wiring.graph
        return (None, self.ended) if graph is None else graph.front(member.node)

    def _joined(self, node: Node) -> list[Member]:
        return [member for member in self.members if node in others(member.node)]
