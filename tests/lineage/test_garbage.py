"""What is kept follows from what is needed, wherever clearing is cut short."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.lineage.garbage import (
    Thing,
    Verdict,
    clear,
    remove_folder,
    size,
    sort_out,
    verdict_text,
)

KINDS = ("version", "model", "run", "prompt")


@st.composite
def heaps(draw: st.DrawFn) -> tuple[dict[str, tuple[str, ...]], dict[str, str], int]:
    """Things by key with what they need (older ones), roots, and when it is cut short."""
    number = draw(st.integers(1, 12))
    needs = {}
    for place in range(number):
        older = st.sampled_from([f"t{n}" for n in range(place)] or ["gone"])
        needs[f"t{place}"] = tuple(draw(st.lists(older, max_size=3)))
    roots = draw(st.sets(st.sampled_from([*needs, "gone"]), max_size=4))
    return needs, dict.fromkeys(roots, "wanted"), draw(st.integers(0, number))


@given(heaps(), st.data())
def test_all_that_is_needed_stays_and_nothing_left_points_nowhere(heap, data) -> None:
    needs, roots, cut = heap
    left = set(needs)
    things = [
        Thing(
            key=key,
            kind=data.draw(st.sampled_from(KINDS)),
            place=key,
            size=1,
            made=float(number),
            delete=lambda key=key: left.remove(key),
            needs=needs[key],
        )
        for number, key in enumerate(needs)
    ]
    verdict = sort_out(things, roots)
    cut_short = Verdict(verdict.kept, verdict.garbage[:cut])
    clear(cut_short, lambda thing: None)
    reachable, waiting = set(), [key for key in roots if key in needs]
    while waiting:
        key = waiting.pop()
        reachable.add(key)
        waiting += [one for one in needs[key] if one in needs]
    assert {thing.key for thing in verdict.kept} == reachable
    assert reachable <= left
    kinds = {thing.key: thing.kind for thing in things}
    for key in left:
        known = [one for one in needs[key] if one in kinds]
        same = [one for one in known if kinds[one] == kinds[key]]
        below = [one for one in known if (kinds[key], kinds[one]) == ("version", "model")]
        assert {*same, *below} <= left


def test_a_folder_is_gone_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_reasons_lead_back_to_the_root() -> None:
    def thing(key: str, *needs: str) -> Thing:
        return Thing(key, "model", key, 1500, 0.0, lambda: None, needs)

    verdict = sort_out(
        [thing("a", "b"), thing("b", "c"), thing("c"), thing("d")], {"a": "champion"}
    )
    assert {one.key: why for one, why in verdict.kept.items()} == {
        "a": "champion",
        "b": "needed by a: champion",
        "c": "needed by b: champion",
    }
    text = verdict_text(verdict, kept=True)
    assert "needed by b: champion" in text
    assert "may go: 1 model, 1.5 KB" in text


def test_sizes_are_for_people() -> None:
    assert [size(number) for number in (0, 999, 1500, 25_000, 5e9)] == [
        *("0 B", "999 B", "1.5 KB", "25 KB", "5.0 GB"),
    ]
