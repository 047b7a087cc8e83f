"""Every final record resolves, every dropped one has exactly one reason, or it is told."""

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kyara_kedro.lineage.audit import FINAL, audit, sources
from kyara_kedro.lineage.store import Store, Table

from .world import TEXT, World


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Chains of random length and width, with drops and edits at random places."""
    world = World()

    def some(names: list[str]) -> list[str]:
        return [name for name in names if draw(st.booleans())]

    documents = [
        world.document(world.raw("document_rows", f"d.jsonl#{n}"))
        for n in range(draw(st.integers(1, 3)))
    ]
    passages = [
        world.passage(document, *draw(st.sampled_from([(0, 9), (9, 22), (22, len(TEXT))])))
        for document in documents
        for _ in range(draw(st.integers(1, 2)))
    ]
    questions = [world.question(passage) for passage in passages]
    questions += [world.question(world.parents[parent][0], parent) for parent in some(questions)]
    conversations = [
        world.conversation("synthetic_conversations", question, world.parents[question][0])
        for question in questions
    ]
    conversations += [
        world.conversation("open_conversations", world.raw("open_conversation_rows", f"o.json#{n}"))
        for n in range(draw(st.integers(0, 3)))
    ]
    copies = some(conversations)[:2]
    for name in copies:
        world.drop("dedup_drops", name, "exact_duplicate")
    base = [name for name in conversations if name not in copies]
    edited = some(base)[:1]
    corpus = [name for name in base if name not in edited] + [world.edited(one) for one in edited]
    for name in some(corpus)[:3]:
        world.drop("curate_drops", name)
    pairs = [world.preference(one, world.generation(one)) for one in some(corpus)]
    for name in some(pairs)[:1]:
        world.drop("preference_drops", name, "contaminated")
    return world


_QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_QUICK
@given(worlds())
def test_every_final_record_resolves_and_every_dropped_one_has_one_reason(world: World) -> None:
    found = audit(world.store())
    assert found.holds
    assert {share.table for share in found.shares} <= set(FINAL)
    assert all(share.rows == share.resolved for share in found.shares)
    for gate in found.gates:
        assert gate.entered == gate.left + gate.dropped


@_QUICK
@given(worlds(), st.data())
def test_a_source_that_is_gone_breaks_exactly_what_rests_on_it(
    world: World, data: st.DataObject
) -> None:
    whole = world.store()
    gone = data.draw(
        st.sampled_from(
            [
                name
                for table in ("document_rows", "documents", "passages", "questions")
                for row in world.rows[table]
                for name in [row.get("place", row["id"])]
            ]
        )
    )
    found = {share.table: share for share in audit(world.without(gone)).shares}
    for table in ("base_conversations", "refined_conversations", "preferences"):
        ids = whole.scan(table).select("id").collect()["id"].to_list()
        broken = [name for name in ids if world.rests_on(name, gone)]
        assert found[table].rows - found[table].resolved == len(broken)
        assert {one.id for one in found[table].broken} <= set(broken)


def small() -> tuple[World, str]:
    world = World()
    passage = world.passage(world.document(world.raw("document_rows", "d.md")), 0, 20)
    question = world.question(passage)
    return world, world.conversation("synthetic_conversations", question, passage)


def test_a_passage_that_is_no_stretch_of_its_document_resolves_to_nothing() -> None:
    world, name = small()
    world.rows["passages"][0]["text"] = "別的文字別的文字別的文字別的文字別的文字"
    (share, *_) = audit(world.store()).shares
    assert (share.table, share.rows, share.resolved) == ("base_conversations", 1, 0)
    assert share.broken[0].id == name


def test_a_record_that_vanishes_without_a_reason_is_told() -> None:
    world, name = small()
    store = world.store()
    empty = store.scan("base_conversations").collect().clear()
    lost = Store({**store.tables, "base_conversations": Table(empty.lazy)})
    found = audit(lost)
    assert not found.holds
    assert found.gates[0].lost == (name,)


def test_a_record_that_goes_on_although_it_was_dropped_is_told() -> None:
    world, name = small()
    store = world.store()
    world.drop("dedup_drops", name)
    drops = world.store().tables["dedup_drops"]
    found = audit(Store({**store.tables, "dedup_drops": drops}))
    assert not found.holds
    assert found.gates[0].twice == (name,)


def test_a_record_that_names_nothing_does_not_resolve() -> None:
    world, name = small()
    world.rows["synthetic_conversations"][0] |= {"parents": [], "passage_ids": []}
    (share, *_) = audit(world.store()).shares
    assert [(one.id, one.value) for one in share.broken] == [(name, None)]


def test_the_sources_of_a_set_are_counted_once_each() -> None:
    world, name = small()
    other = world.conversation("synthetic_conversations", *world.parents[name])
    found = sources(world.store(), "conversation", pl.Series([name, other]))
    assert found.counts == {"document": 1, "passage": 1, "question": 1, "row": 1}
    assert found.files == {"raw_documents/d.md": 1}
