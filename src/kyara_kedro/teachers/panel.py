"""Several teachers of whom every request names its own: contestants, or judges."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from kyara_kedro.teachers.accounts import Estimate
from kyara_kedro.teachers.base import ChatRequest, Completion, Teacher, TeacherError, unanswered
from kyara_kedro.teachers.feed import Feed, off_signal
from kyara_kedro.teachers.team import TeamOptions, TeamTeacher

LOGGER = logging.getLogger(__name__)
OUT_OF_REACH = "out_of_reach"


class Panel(TeamTeacher):
    """A team whose members each answer the requests that are addressed to them.

    The row id of a request is that of its row, a colon and the name of the member.

    Args:
        members: The teachers by their names, which need not be those on records: the same model
            may take part twice, with and without reference documents.
        weights: Of judges that share the work, see :func:`kyara_kedro.teachers.team.order`.
        options: Role of the panel.
        grounded: Names of those that are given reference documents.
    """

    told_apart_by_name = False
    may_be_empty = True

    def __init__(
        self,
        members: Mapping[str, Teacher],
        weights: Mapping[str, float],
        options: TeamOptions | None = None,
        grounded: Collection[str] = (),
    ) -> None:
        super().__init__(members, weights, options)
        self.grounded = frozenset(grounded)

    @classmethod
    def of(cls, teacher: Teacher) -> Panel:
        """The members of a team, or a single teacher, as a panel."""
        if isinstance(teacher, Panel):
            return teacher
        options = TeamOptions(role=teacher.role)
        if isinstance(teacher, TeamTeacher):
            return cls(teacher.direct, teacher.weights, options)
        return cls({teacher.name: teacher}, {teacher.name: 1.0}, options)

    def responsible(self, request: ChatRequest) -> list[str]:
        """The member that the row id names."""
        return [request.row_id.partition(":")[2]]

    def going_on(self) -> Panel:
        """The same panel, in which a member that is out of reach does not stop the others.

        Its requests come back as ``failed`` with the fault ``out_of_reach``; :attr:`gaps` says why.
        """
        return self.recast(_Absentable)

    @property
    def gaps(self) -> dict[str, str]:
        """What was wrong with members that were out of reach, by their names."""
        return {
            name: one.gap
            for name, one in self._members.items()
            if isinstance(one, _Absentable) and one.gap
        }


class _Absentable(Teacher):
    """A teacher whose absence is told by its completions."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.name, self.kind, self.role = teacher.name, teacher.kind, teacher.role
        self.licence_note, self.family = teacher.licence_note, teacher.family
        self.when_spent, self.wave = teacher.when_spent, teacher.wave
        self.gap = ""
        self._teacher = teacher

    @property
    def members(self) -> Mapping[str, Teacher]:
        return self._teacher.members

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate | None:
        return self._teacher.estimate(requests)

    def ends_run(self, completion: Completion) -> bool:
        return self._teacher.ends_run(completion)

    def _answers(self, requests: Iterable[ChatRequest]) -> Iterator[Completion]:
        off, source = off_signal(requests), iter(requests)
        waiting: dict[tuple[str, str, int], ChatRequest] = {}

        def noted() -> Iterator[ChatRequest]:
            for request in source:
                waiting[request.row_id, request.task, request.sample] = request
                yield request

        if not self.gap:
            try:
                for found in self._teacher.map(Feed(noted(), off)):
                    del waiting[found.row_id, found.task, found.sample]
                    yield found
            except TeacherError as error:
                self.gap = str(error)
                LOGGER.warning("%s goes on without %s: %s", self.role, self.name, error)
        for request in [*waiting.values(), *(source if self.gap else ())]:
            yield replace(
                unanswered(request, self.name, self.kind, ""),
                status="failed",
                fault=OUT_OF_REACH,
                error=self.gap,
            )
