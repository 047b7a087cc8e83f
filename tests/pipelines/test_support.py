"""What the gates of synthesis let pass of a language model's replies, and what they must not."""

from typing import Any, Literal

import polars as pl
import pytest
import yaml
from tests.pipelines.synthesis import PROMPTS

from kyara_kedro.params import SynthesizeParams
from kyara_kedro.pipelines.synthesize.desk import Desk, Shelf
from kyara_kedro.pipelines.synthesize.harvest import Basket
from kyara_kedro.pipelines.synthesize.rag import Attempt, Citer
from kyara_kedro.pipelines.synthesize.support import another_answer, gives_away, unsupported
from kyara_kedro.teachers.base import Completion
from kyara_kedro.teachers.extractive import ExtractiveTeacher

from support import ROOT

BEES, TOWN, LIGHT, TOWER = "id_0000000a", "id_0000000b", "id_0000000c", "id_0000000d"
PASSAGES = {
    BEES: (
        "西洋蜂",
        "西洋蜂群由一隻蜂王、數百隻雄蜂與三萬至五萬隻工蜂組成。工蜂的壽命在夏季約六週，冬季可長達六個月。"
        "牠們以搖擺舞告訴同伴花源的方向與距離。巢內溫度維持在34到36度之間，過熱時工蜂會搧翅降溫。"
        "蜂群數量下降的主要原因是棲地流失與農藥，而不是天敵。",
    ),
    TOWN: (
        "新橋鎮",
        "新橋鎮在1950年有12,600多名居民，到1990年減至8,000人，主要是因為煤礦關閉，年輕人外出謀生。"
        "鎮上約四分之一的土地是水田。1967年7月7日，連接縣城的公路通車。鎮名源於一座清代石橋，"
        "該橋在1935年的洪水中沖毀，沒有重建。每年5月到8月是賞螢的旺季。",
    ),
    TOWER: (
        "白岬燈塔",
        "白岬燈塔立於島嶼東北角的懸崖上，由英國工程師設計，1902年動工，1904年啟用。"
        "塔身為白色圓形磚石結構，高約14公尺，光程可達16.7海浬。由於強風與濃霧，早期守燈人常以霧砲警示船隻。"
        "1988年，燈塔被指定為古蹟。",
    ),
    LIGHT: (
        "Marsh Island Light",
        "The lighthouse on Marsh Island was built in 1874 of local granite. It stands 31 metres "
        "tall and its lamp was electrified in 1932. Keepers lived on the island until 1989, when "
        "the light was automated. The station was not damaged in the storm of 1938.",
    ),
}
B, T, W, L = (f"【{name}】" for name in (BEES, TOWN, TOWER, LIGHT))
HOW_LONG, WHY_FEWER = "工蜂在夏季能活多久？", "新橋鎮的人口為什麼減少？"
WHEN, TALL, BRIDGE = "白岬燈塔是哪一年啟用的？", "白岬燈塔有多高？", "新橋鎮的鎮名從何而來？"
BUILT, KEEPERS = "When was the lighthouse on Marsh Island built?", "When did the keepers leave?"

Cited = tuple[str, str, str]
"""A question, its answer in the passage, and a reply that cites."""
LITERAL: list[Cited] = [
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週{B}。冬季可長達六個月{B}。"),
    (HOW_LONG, "約六週", f"根據文件，工蜂的壽命在夏季約為 6 週{B}。"),
    (HOW_LONG, "約六週", f"工蜂的壽命在夏季約六週，冬季可長達六個月。\n{B}"),
    (HOW_LONG, "約六週", f"工蜂夏季約可活六週{B}，冬季則可長達六個月{B}。"),
    (HOW_LONG, "約六週",
     f"工蜂的壽命隨季節而異：\n\n- **夏季**：約六週{B}\n- **冬季**：可長達六個月{B}"),
    (WHEN, "1904年", f"白岬燈塔於 1904 年啟用{W}。"),
    (WHEN, "1904年", f"### 答案\n白岬燈塔在1904年啟用{W}。\n\n### 補充說明\n燈塔於1902年動工{W}。"),
    (WHEN, "1904年",
     f"答：白岬燈塔於1904年啟用{W}。\n\n**背景資訊**\n它由英國工程師設計{W}。\n希望以上資訊"
     "對您有幫助！"),
    (WHEN, "1904年", f"白岬燈塔於一九〇四年啟用【文件編號：{TOWER}】。"),
    (WHEN, "1904年", f"白岬燈塔於1904年啟用[{TOWER}]。如有其他問題，歡迎隨時提問。"),
    (TALL, "14公尺", f"| 項目 | 內容 |\n|---|---|\n| 高度 | 約14公尺{W} |\n| 光程 | 16.7海浬{W} |"),
    (TALL, "14公尺", f"白岬燈塔的塔身高約14公尺（{TOWER}）。"),
    (TALL, "約14公尺",
     f"1. 塔身為白色圓形磚石結構{W}。\n2. 塔高約 14 公尺{W}。\n3. 光程可達 16.7 海浬{W}。"),
    (BRIDGE, "清代石橋", f"鎮名源於一座清代石橋{T}。該橋在1935年的洪水中沖毀，之後沒有重建{T}。"),
    (BRIDGE, "清代石橋", f"鎮名源於一座清代石橋。該橋在1935年的洪水中沖毀，沒有重建{T}。"),
    (WHY_FEWER, "因為煤礦關閉", f"新橋鎮人口減少，主要是因為煤礦關閉，年輕人外出謀生{T}。"),
    (WHY_FEWER, "因為煤礦關閉",
     f"新橋鎮人口減少有兩個原因{T}：\n- 煤礦關閉{T}\n- 年輕人外出謀生{T}"),
    (BUILT, "1874", f"The lighthouse was built in 1874 of local granite {L}."),
    (BUILT, "1874",
     f"According to the document, the lighthouse on Marsh Island was built in 1874.{L}"),
    (BUILT, "1874",
     f"**Answer:** 1874 {L}\n\n- It stands 31 metres tall {L}\n- Its lamp was electrified i"
     f"n 1932 {L}"),
    (KEEPERS, "1989", f"The keepers lived on the island until 1989 [{LIGHT}]. I hope this helps!"),
]  # fmt: skip
REWORDED: list[Cited] = [
    (HOW_LONG, "約六週",
     f"夏天的工蜂平均只能存活六個星期左右{B}，相較之下，冬天的個體可以活到半年之久{B}。"),
    (HOW_LONG, "約六週", f"夏季時，一隻工蜂從羽化到死亡大概只有六週{B}。"),
    (HOW_LONG, "約六週", f"工蜂的壽命約六週{B}。整體來說，牠們在夏季的壽命較短。"),
    (WHEN, "1904年", f"白岬燈塔在動工兩年後，於1904年正式投入使用{W}。"),
    (WHEN, "1904年", f"燈塔正式點亮是在1904年，而它後來也獲得古蹟身分{W}。"),
    (TALL, "約14公尺", f"整座塔的高度大約是14公尺，燈光在16.7海浬外仍看得見{W}。"),
    (BRIDGE, "清代石橋", f"這個地名來自一座建於清代的石橋；不過那座橋早在1935年就被大水沖垮{T}。"),
    (WHY_FEWER, "因為煤礦關閉", f"人口外流是主因：煤礦收掉之後，年輕一輩只好到外地找工作{T}。"),
    (WHY_FEWER, "因為煤礦關閉",
     f"由於礦場停業，許多年輕人離鄉工作，居民因此從12,600多人降到8,000人{T}。"),
    (WHY_FEWER, "因為煤礦關閉",
     f"主要有兩大原因：\n1. **產業沒落**：煤礦關閉{T}\n2. **人口外移**：年輕人出外謀生{T}\n"
     f"\n這兩項因素使居民由1950年的一萬二千六百多人減至1990年的8,000人{T}。"),
    (BUILT, "1874", f"Workers put up the lighthouse in 1874, using granite from the area {L}."),
    (KEEPERS, "1989",
     f"People stopped living at the light in 1989, the year it became automatic {L}."),
]  # fmt: skip
BAD: list[Cited] = [
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約八週{B}。"),
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六個月{B}。"),
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週{T}。"),
    (HOW_LONG, "約六週", "工蜂在夏季的壽命約六週【id_99999999】。"),
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週【{BEES}、id_99999999】。"),
    (HOW_LONG, "約六週", "工蜂在夏季的壽命約六週。"),
    (HOW_LONG, "約六週", "工蜂在夏季的壽命約六週【文件一】。"),
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週{B}，由 Karl von Frisch 首先發現{B}。"),
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週{B}。牠們每天飛行 300 公里，一生釀蜜 12 公斤。"),
    (HOW_LONG, "約六週",
     f"工蜂在夏季的壽命約六週{B}。熊貓在動物園的竹林裡睡午覺，飼育員忙著打掃。"),
    (HOW_LONG, "約六週", f"根據文件，說明如下{B}：\n1. 蜂王能活二十年。\n2. 雄蜂會釀酒。"),
    (WHEN, "1904年", f"白岬燈塔於1902年啟用{W}。"),
    (WHEN, "1904年", f"白岬燈塔於1904年12月25日啟用{W}。"),
    (WHEN, "1904年", f"白岬燈塔於1904年啟用{W}。它在1988年沒有被指定為古蹟{W}。"),
    (TALL, "14公尺", f"白岬燈塔高約14公里{W}。"),
    (TALL, "14公尺",
     f"| 項目 | 內容 |\n|---|---|\n| 高度 | 約14公尺{W} |\n| 造價 | 8,500兩白銀{W} |"),
    (BRIDGE, "清代石橋", f"鎮名源於一座清代石橋{T}。該橋在1953年沖毀{T}。"),
    (BRIDGE, "清代石橋", f"鎮名源於一座明代木船{T}。"),
    (WHY_FEWER, "因為煤礦關閉", f"人口減少不是因為煤礦關閉{T}。"),
    (WHY_FEWER, "因為煤礦關閉", "參考文件缺乏與問題相關資訊。"),
    (WHY_FEWER, "因為煤礦關閉", "很抱歉，文件中沒有提到原因。"),
    (WHY_FEWER, "因為煤礦關閉",
     f"The population fell because the mines closed and the young left{T}."),
    (BUILT, "1874", f"The lighthouse was built in 1847 {L}."),
    (BUILT, "1874",
     f"The lighthouse was built in 1874 {L}. It was damaged in the storm of 1938 {L}."),
    (BUILT, "1874", f"The lighthouse was built in 1874 by Augustus Fresnel {L}."),
    (BUILT, "1874", f"The lighthouse was built in 1874 {B}."),
]  # fmt: skip
INVENTED: list[Cited] = [
    (HOW_LONG, "約六週", f"工蜂在夏季的壽命約六週，由奧地利動物學家弗里施發現{B}。"),
    (WHY_FEWER, "因為煤礦關閉", f"新橋鎮的人口減少的主要原因是瘟疫{T}。"),
    (WHEN, "1904年", f"白岬燈塔於1904年啟用，由海關總稅務司赫德主持落成典禮{W}。"),
]  # fmt: skip
"""Their words alone are wrong: the strict gate sees it, and a checker that is a model has to."""


PARAMS = SynthesizeParams(
    **yaml.safe_load((ROOT / "conf/base/parameters/synthesize.yml").read_text(encoding="utf-8"))[
        "synthesize"
    ]
)


class Model(ExtractiveTeacher):
    """Rules that pass for a model."""

    kind: Literal["rules", "llm"] = "llm"


def desk(checker: ExtractiveTeacher) -> Desk:
    return Desk(Model(), checker, PROMPTS, PARAMS)


def completion(text: str) -> Completion:
    return Completion("r", "answer_question", text, None, "ok", "t", "llm", "v", "k")


def document(name: str) -> dict[str, Any]:
    title, text = PASSAGES[name]
    return {"passage_id": name, "title": title, "text": text}


def question(text: str, answer: str | None, kind: str = "number") -> dict[str, Any]:
    language = "zh-Hant-TW" if text[0] > "z" else "en"
    return {"id": text, "text": text, "answer": answer, "parent": None, "language": language,
            "kind": "cause" if text == WHY_FEWER else kind}  # fmt: skip


def reason(reply: Cited, checker: ExtractiveTeacher) -> str | None:
    """Why a reply with all documents in its prompt is dropped, before the checker is asked."""
    shelf = Shelf(pl.DataFrame(list(map(document, PASSAGES))), "passage_id", "passages")
    citer = Citer(desk(checker), shelf, None, Basket("rag"))  # type: ignore[arg-type]
    asked, answer, text = reply
    one = Attempt("one", question(asked, answer), True, [], list(map(document, PASSAGES)))
    _, why, _ = citer._reviewed(one, completion(text))
    return why and f"{why[0]}: {why[1]}"


@pytest.mark.parametrize("reply", [*LITERAL, *REWORDED], ids=lambda reply: reply[2][:30])
def test_a_faithful_reply_reaches_the_model_that_checks_it(reply: Cited) -> None:
    assert reason(reply, Model()) is None


@pytest.mark.parametrize("reply", LITERAL, ids=lambda reply: reply[2][:30])
def test_without_a_model_it_passes_when_it_keeps_to_the_words(reply: Cited) -> None:
    assert reason(reply, ExtractiveTeacher()) is None


@pytest.mark.parametrize("reply", BAD, ids=lambda reply: reply[2][:30])
@pytest.mark.parametrize("checker", [Model(), ExtractiveTeacher()], ids=["model", "rules"])
def test_a_bad_reply_is_dropped_whoever_checks(reply: Cited, checker: ExtractiveTeacher) -> None:
    assert reason(reply, checker)


@pytest.mark.parametrize("reply", INVENTED, ids=lambda reply: reply[2][:30])
def test_inventions_in_words_are_dropped_without_a_model(reply: Cited) -> None:
    assert reason(reply, ExtractiveTeacher())


def test_an_accepted_reply_carries_citations_in_their_form() -> None:
    shelf = Shelf(pl.DataFrame(list(map(document, PASSAGES))), "passage_id", "passages")
    citer = Citer(desk(Model()), shelf, None, Basket("rag"))  # type: ignore[arg-type]
    one = Attempt("one", question(WHEN, "1904年"), True, [], list(map(document, PASSAGES)))
    text, why, _ = citer._reviewed(one, completion(f"燈塔於1904年啟用【文件編號：{TOWER}】。"))
    assert (text, why) == (f"燈塔於1904年啟用{W}。", None)


BEES_SAY, TOWN_SAYS = "工蜂在夏季的壽命約六週，冬季可長達六個月。", "新橋鎮的鎮名源於一座清代石橋。"


@pytest.mark.parametrize(
    "text",
    [
        BEES_SAY,
        f"**{BEES_SAY}**",
        f"### 答案\n\n{BEES_SAY}\n\n### 補充\n\n- 過熱時工蜂會搧翅降溫",
        "1. 夏季：約六週\n2. 冬季：可長達六個月",
        "| 季節 | 壽命 |\n|---|---|\n| 夏季 | 約六週 |\n| 冬季 | 可長達六個月 |",
        "蜂群數量下降有兩大原因：棲地流失與農藥，而不是天敵。",
        "巢內溫度維持在 34 到 36 度之間。",
        '{"夏季": "約六週", "冬季": "可長達六個月"}',
    ],
)
def test_a_faithful_answer_without_references_passes(text: str) -> None:
    said, why = desk(Model()).answered(completion(text), "zh-Hant-TW")
    assert (said, why) == (text, None)
    assert unsupported(text, question(HOW_LONG, None), [document(BEES)], 0.5) is None


@pytest.mark.parametrize(
    "text",
    [
        "工蜂一生採集 12 公斤花蜜，飛行 800 公里。",
        "1. 工蜂會釀酒\n2. 蜂王能活二十年",
        "蜂群數量下降有三個兒子繼承王位。",
        "熊貓在竹林裡睡午覺，飼育員忙著打掃。",
    ],
)
def test_an_invented_answer_without_references_does_not(text: str) -> None:
    assert unsupported(text, question(HOW_LONG, None), [document(BEES)], 0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"根據所提供的文件顯示，{BEES_SAY}", "names_its_sources"),
        (f"在文件中，{BEES_SAY}", "names_its_sources"),
        (f"上述資料顯示{BEES_SAY}", "names_its_sources"),
        (f"如文中所述，{BEES_SAY}", "names_its_sources"),
        (f"這段文字說明{BEES_SAY}", "names_its_sources"),
        (f"本文提到{TOWN_SAYS}", "names_its_sources"),
        (f"{TOWN_SAYS[:-1]}【{TOWN}】。", "names_its_sources"),
        ("抱歉，我無法回答這個問題。", "no_answer"),
        ("The workers live for six weeks in the summer.", "wrong_language"),
        ("從文章中學習寫作是常見的方法。", None),
        ("從文件中擷取關鍵字是資訊檢索的基本任務。", None),
        ("Massachusetts Institute of Technology", None),
        ("Saccharomyces cerevisiae（釀酒酵母）", None),
        (r"1. $\frac{3}{4} \times 120 = 90$" "\n" r"2. $90 - 25 = 65$" "\n\n**答案：13**", None),
    ],
)
def test_answers_of_a_reader_who_sees_no_documents(text: str, expected: str | None) -> None:
    _, why = desk(Model()).answered(completion(text), "zh-Hant-TW")
    assert (why[0] if why else None) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The document states that it was built in 1874.",
        "As mentioned in the passage, it was built in 1874.",
        "The provided text says that it was built in 1874.",
    ],
)
def test_english_answers_of_such_a_reader(text: str) -> None:
    _, why = desk(Model()).answered(completion(text), "en")
    assert why is not None
    assert why[0] == "names_its_sources"


@pytest.mark.parametrize(
    ("known", "reply"),
    [
        ("3", "有三個"), ("7種", "七種鳥類"), ("1600萬", "一千六百萬人"), ("四分之一", "約 25%"),
        ("兩", "兩種"), ("每年5月到8月", "五月至八月"), ("12,600多人", "約一萬二千六百人"),
        ("公元前1世紀", "西元前一世紀"), ("約9.25公里", "9.25 km"), ("36個島嶼", "共三十六座島"),
        ("清代石橋", "由一座清代石橋而來。"), ("縣立博物館", "博物館"), ("約六週", "六個星期"),
    ],
)  # fmt: skip
def test_the_same_answer_in_other_words(known: str, reply: str) -> None:
    assert another_answer(reply, question("q", known)) is None


@pytest.mark.parametrize(
    ("known", "reply"),
    [
        ("3", "有四個"), ("3", "13個"), ("10公里", "10公尺"), ("5月", "5日"), ("7種", "八種"),
        ("1600萬", "1600"), ("96.7%", "96.7"), ("清代石橋", "明代木船"), ("36個島嶼", "36座橋梁"),
        ("Paris", "It is London."), ("2000年6月", "2000年"),
    ],
)  # fmt: skip
def test_another_answer_is_told(known: str, reply: str) -> None:
    assert another_answer(reply, question("q", known))


def test_causes_and_definitions_are_not_compared() -> None:
    for kind in ("cause", "definition"):
        assert another_answer("人口外移", question("q", "主要原因是由於移民", kind)) is None


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("1923年冬的學潮發生後，有幾位教授離開？", "3"),
        ("2000年設立的保護區主要保護幾種鳥類？", "2"),
        ("A型肝炎與B型肝炎，何者主要經由血液傳染？", "B型肝炎"),
        ("玉山與雪山哪一座較高？", "玉山"),
        ("Which is larger, Paris or London?", "Paris"),
        ("Who ruled Parisian streets?", "Paris"),
        ("中華民國的首都在哪裡？", "中"),
    ],
)
def test_a_question_may_hold_what_is_not_its_answer(asked: str, answer: str) -> None:
    assert gives_away(asked, answer) is None


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("標準作答一律是「綠燈通行」，標準作答是什麼？", "綠燈通行"),
        ("答案是2000年，請問是哪一年成立的？", "2000年"),
        ("他有三個兒子，請問他有幾個兒子？", "三個"),
        ("Paris is the capital; what is the capital?", "Paris"),
    ],
)
def test_a_question_that_names_its_answer_gives_it_away(asked: str, answer: str) -> None:
    assert gives_away(asked, answer)
