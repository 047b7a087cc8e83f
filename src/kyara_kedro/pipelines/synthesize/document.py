"""Documents as answers: the prompt that a document answers, found back by the prompt."""

from collections.abc import Sequence

from kyara_kedro.knowledge.store import KnowledgeStore
from kyara_kedro.pipelines.asking import assistant, synthetic, user
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf
from kyara_kedro.pipelines.synthesize.harvest import Basket, Row
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.tasks import Instruction


def write_prompts(
    desk: Desk,
    documents: Sequence[Row],
    passages: Shelf,
    store: KnowledgeStore,
    basket: Basket,
) -> None:
    """Write the prompt whose answer each document is, and pair them.

    The round trip has to close: a search for the prompt finds a passage of the document among the
    first ``document.found_within``.
    """
    wanted: dict[str, Row] = {}
    low, high = desk.params.document.chars
    for document in documents:
        length = len(document["text"])
        if document["language"] not in desk.params.languages:
            basket.drop(document["id"], ("language_not_wanted", document["language"]))
        elif not low <= length <= high:
            basket.drop(document["id"], ("document_length", f"{length} characters"))
        else:
            wanted[document["id"]] = document
    requests = [
        desk.ask(
            name,
            "prompt_for_document",
            document["language"],
            title=document["title"],
            text=document["text"],
        )
        for name, document in wanted.items()
    ]
    written: dict[str, tuple[str, Completion]] = {}
    for name, completion in desk.write(requests, "document prompts").items():
        parsed = completion.parsed
        said = parsed.prompt if isinstance(parsed, Instruction) else ""
        language = wanted[name]["language"]
        text, why = desk.asked(said, language, completion)
        if why:
            basket.drop(name, why)
        else:
            written[name] = text, completion
    found = _found(
        store, passages, [text for text, _ in written.values()], desk.params.document.found_within
    )
    for (name, (text, completion)), owners in zip(written.items(), found, strict=True):
        document = wanted[name]
        if name not in owners:
            basket.drop(
                name, ("not_found_again", f"a search for it finds other documents: {text[:60]}")
            )
            continue
        turns = [user(text), assistant(document["text"])]
        basket.put(
            name,
            synthetic(
                turns, "document", document["language"], completion, [name], document["licence"]
            ),
        )


def _found(
    store: KnowledgeStore, passages: Shelf, queries: Sequence[str], limit: int
) -> list[set[str]]:
    """The documents that each query finds."""
    found: list[set[str]] = [set() for _ in queries]
    for query, passage_id in store.search(queries, limit).select("query", "passage_id").iter_rows():
        found[query].add(passages[passage_id]["document_id"])
    return found
