"""Near-duplicates in meaning, through an endpoint of embeddings on the loopback."""

from pathlib import Path

import polars as pl
from tests.knowledge.servers import EmbeddingsShim, serving

from kyara_kedro.datasets.encoder import EncoderDataset
from kyara_kedro.records import SIMILAR_PAIR
from kyara_kedro.similarity.meaning import SemanticOptions, find_pairs

KEY = "secret-key"
HIGH = "玉山主峰海拔三千九百五十二公尺，是臺灣的最高峰，位在南投、嘉義與高雄的交界。"
AGAIN = "臺灣的最高峰是玉山主峰，海拔三千九百五十二公尺，位在南投、嘉義與高雄的交界。"
OTHER = "日月潭位在南投縣魚池鄉，是臺灣最大的天然湖泊，環湖的自行車道很受歡迎。"


def table(texts: list[str], quality: list[float], labels: list[bool]) -> pl.DataFrame:
    ids = [f"{n:04}" for n in range(len(texts))]
    return pl.DataFrame({"id": ids, "text": texts, "quality": quality, "label": labels})


def found(shim: EmbeddingsShim, folder: Path, frame: pl.DataFrame) -> list[tuple[str, str]]:
    with serving(shim) as url:
        entry = EncoderDataset(
            options={"model": "shim", "base_url": f"{url}/v1"},
            credentials={"embedding_api_key": KEY},
        )
        assert KEY not in str(entry._describe())
        encoder = entry.load()
        assert encoder is not None
        options = SemanticOptions(threshold=0.9, floor=0.8)
        pairs = SIMILAR_PAIR.validate(find_pairs([frame[:2], frame[2:]], encoder, folder, options))
    assert pairs["method"].to_list() == ["semantic"] * pairs.height
    return [(one, other) for one, other in pairs.select("first_id", "second_id").iter_rows()]


def test_other_words_are_found_and_other_numbers_kept_apart(tmp_path: Path) -> None:
    texts = [HIGH, OTHER, AGAIN, AGAIN.replace("五十二", "八十四")]
    frame = table(texts, [0.1, 0.5, 0.9, 0.5], [False] * 4)
    assert found(EmbeddingsShim(64, KEY), tmp_path, frame) == [("0002", "0000")]


def test_texts_of_other_labels_are_not_compared(tmp_path: Path) -> None:
    frame = table([HIGH, AGAIN], [0.5, 0.5], [False, True])
    assert found(EmbeddingsShim(64, KEY), tmp_path, frame) == []


def test_the_best_of_equal_vectors_stands_for_them(tmp_path: Path) -> None:
    class Blind(EmbeddingsShim):
        """Sees the first characters only, as encoders do of long texts."""

        def __call__(self, method, path, body, headers):  # type: ignore[no-untyped-def]
            seen = body | {"input": [text[:20] for text in body["input"]]}
            return super().__call__(method, path, seen, headers)

    texts = [HIGH + end for end in ("甲", "乙", "丙")] + [AGAIN]
    frame = table(texts, [0.2, 0.9, 0.1, 0.05], [False] * 4)
    pairs = found(Blind(64, KEY), tmp_path, frame)
    assert {pair for pair in pairs if "0003" not in pair} == {("0001", "0000"), ("0001", "0002")}
    assert not {("0000", "0003"), ("0002", "0003")} & set(pairs)


def test_a_second_run_asks_for_new_texts_only(tmp_path: Path) -> None:
    shim = EmbeddingsShim(64, KEY)
    frame = table([HIGH, OTHER, AGAIN], [0.5] * 3, [False] * 3)
    first = found(shim, tmp_path, frame[:2])
    asked = sum(map(len, shim.asked))
    found(shim, tmp_path, frame)
    assert (first, asked, sum(map(len, shim.asked))) == ([], 2, 3)
    stored = [path.read_bytes() for path in tmp_path.rglob("*.npz")]
    assert stored
    assert not any(KEY.encode() in content for content in stored)
