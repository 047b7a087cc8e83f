"""Teachers as catalog entries."""

from pathlib import Path
from typing import Any, Literal

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import SecretStr

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.ledger import open_ledger
from kyara_kedro.storage import on_disk
from kyara_kedro.teachers.base import Teacher

Kind = Literal["extractive", "openai", "batch", "replay", "transformers-local", "team", "panel"]
_MEMBER = frozenset({"weight", "kind", "options", "ledger", "credentials", "family"})
_SHOWN = (_MEMBER - {"credentials"}) | {"grounded"}


class TeacherDataset(AbstractDataset[None, Teacher]):
    """A teacher to ask: the embedded rules, a model behind an endpoint, or one on this machine.

    All nodes of a run share one teacher, so its caps hold for the run.

    Args:
        kind: ``extractive``: the embedded rules. ``openai``: any server that speaks OpenAI's chat
            completions. ``batch``: OpenAI's batch service. ``replay``: the ledger alone, with the
            options of the kind it was recorded with. ``transformers-local``: a model in a folder.
            ``team``: several of them that share one role. ``panel``: several that each have a
            say, as contestants or judges.
        options: Settings of that kind: ``ExtractiveOptions``, ``EndpointOptions``,
            ``LocalOptions``, ``TeamOptions`` (of a panel too).
        ledger: ``path`` of the file that keeps every reply; for ``replay`` also one that `kedro
            ledger export` has written.
        credentials: ``api_key``, from credentials.yml only.
        members: Of a team or panel, by the names that rows are drawn with: a ``weight`` each, and
            the entries of a teacher. A mapping, since Kedro looks for credentials there alone. What
            a member does not say of ledger and role is the team's; credentials never are. A
            contestant that is ``grounded`` gets reference documents.
        family: Whose model it is, such as ``openai``, where its name does not tell.
        metadata: Free entries, such as kedro-viz's layer.
    """

    _SINGLE_PROCESS = True

    def __init__(
        self,
        *,
        kind: Kind,
        options: dict[str, Any] | None = None,
        ledger: dict[str, str] | None = None,
        credentials: dict[str, str | None] | None = None,
        members: dict[str, dict[str, Any]] | None = None,
        family: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if kind not in Kind.__args__:  # type: ignore[attr-defined]
            known = ", ".join(Kind.__args__)  # type: ignore[attr-defined]
            raise DatasetError(f"teacher kind '{kind}' is unknown: there are {known}")
        self._kind = kind
        self._options = options or {}
        self._ledger = ledger
        self._credentials = credentials or {}
        self._members = members
        self._family = family
        self.metadata = metadata
        self._teacher: Teacher | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process makes the teacher from."""
        return self.__dict__ | {"_teacher": None}

    def configured(self) -> Any:
        """The settings, those of members as well, without keys."""
        members = {
            name: {key: value for key, value in entry.items() if key != "credentials"}
            for name, entry in (self._members or {}).items()
        }
        return [self._kind, self._options, self._family, members]

    def load(self) -> Teacher:
        """Give the teacher, made when it is first asked for."""
        if self._teacher is None:
            what = self._options.get("role") or self._options.get("model") or self._kind
            self._teacher = self._make(f"teacher {what}")
        return self._teacher

    def _make(self, what: str) -> Teacher:
        teacher = self._of_kind(what)
        if self._family is not None:
            teacher.family = self._family
        return teacher

    def _of_kind(self, what: str) -> Teacher:
        if self._kind == "extractive":
            from kyara_kedro.teachers.extractive import ExtractiveOptions, ExtractiveTeacher

            return ExtractiveTeacher(ExtractiveOptions.read(self._options, what))
        if self._kind in ("team", "panel"):
            return self._team(what)
        if self._ledger is None or "path" not in self._ledger:
            raise DatasetError(f"{what} needs a ledger: set 'ledger: {{path: …}}'")
        path = on_disk(self._ledger["path"], f"the ledger of {what}")
        if self._kind == "transformers-local" or "path" in self._options:
            return self._local(what, path)

        from kyara_kedro.teachers.model import EndpointOptions

        options = EndpointOptions.read(self._options, what)
        if self._kind == "replay":
            from kyara_kedro.teachers.archive import open_to_replay
            from kyara_kedro.teachers.replay import ReplayTeacher

            return ReplayTeacher(options, open_to_replay(path))
        key = self._credentials.get("api_key")
        if key is None and options.needs_key:
            raise DatasetError(
                f"{what}: {options.base_url} needs a key: set OPENAI_API_KEY in the environment, "
                "or api_key in conf/local/credentials.yml"
            )
        secret = None if key is None else SecretStr(key)
        if self._kind == "batch":
            from kyara_kedro.teachers.batch import BatchTeacher

            return BatchTeacher(options, open_ledger(path), secret)
        from kyara_kedro.teachers.openai_chat import OpenAITeacher

        return OpenAITeacher(options, open_ledger(path), secret)

    def _team(self, what: str) -> Teacher:
        from kyara_kedro.teachers.panel import Panel
        from kyara_kedro.teachers.team import MemberOptions, TeamOptions, TeamTeacher

        options = TeamOptions.read(self._options, what)
        empty = not self._members and self._kind != "panel"
        if not isinstance(self._members, dict) or empty:
            raise DatasetError(
                f"{what}: 'members' has to be a mapping of names to teachers, such as "
                "{strong: {weight: 3, kind: openai, credentials: openai, options: {model: …}}}"
            )
        members, weights, grounded = {}, {}, []
        for name, entry in self._members.items():
            who = f"{what}, member {name}"
            if not isinstance(entry, dict) or "kind" not in entry:
                raise DatasetError(f"{who}: needs a 'kind', and is a mapping like a teacher's")
            known = _MEMBER | ({"grounded"} if self._kind == "panel" else set())
            if unknown := sorted(entry.keys() - known):
                raise DatasetError(f"{who}: {unknown[0]!r} is unknown; {sorted(known)} are known")
            weight = {"weight": entry["weight"]} if "weight" in entry else {}
            weights[name] = MemberOptions.read(weight, who).weight
            members[name] = TeacherDataset(
                kind=entry["kind"],
                options={"role": options.role, **(entry.get("options") or {})},
                ledger=entry.get("ledger", self._ledger),
                credentials=entry.get("credentials"),
                family=entry.get("family"),
            )._make(who)
            grounded += [name] if entry.get("grounded") else []
        if self._kind == "panel":
            return Panel(members, weights, options, grounded)
        return TeamTeacher(members, weights, options)

    def _local(self, what: str, ledger: Path) -> Teacher:
        from kyara_kedro.checkpoints import fingerprint
        from kyara_kedro.teachers.local import LocalOptions, LocalTeacher

        options = LocalOptions.read(self._options, what)
        if self._kind == "replay":
            from kyara_kedro.teachers.archive import open_to_replay
            from kyara_kedro.teachers.replay import ReplayTeacher

            identity = fingerprint(options.path)
            return ReplayTeacher(options.model, open_to_replay(ledger), identity=identity)
        if self._kind != "transformers-local":
            raise DatasetError(
                f"{what}: a 'path' is for 'kind: transformers-local', not {self._kind}"
            )
        return LocalTeacher(options, open_ledger(ledger))

    def save(self, data: None) -> None:
        """Refuse: teachers are asked, not saved."""
        raise DatasetError("a teacher is an input and is never written")

    def preview(self) -> JSONPreview:
        """Who answers and how, without any credential, for kedro-viz."""
        return previews.document(self._shown())

    def _shown(self) -> dict[str, Any]:
        shown = {"kind": self._kind, "options": self._options, "ledger": self._ledger}
        members = {
            name: {part: value for part, value in entry.items() if part in _SHOWN}
            for name, entry in (self._members or {}).items()
        }
        return {name: value for name, value in (shown | {"members": members}).items() if value}

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"kind": self._kind} | {
            key: self._options[key] for key in ("role", "model", "path") if key in self._options
        }
