"""The embedded tagger: what a conversation asks for and is about, by words of the request.

Tags follow InsTag's idea (arXiv 2308.07074): several fine-grained tags a query, the task first and
its subjects after it. A language model finds finer ones where a teacher is configured; both kinds
go through the same normalisation.
"""

from __future__ import annotations

import polars as pl

from kyara_kedro.content import Message
from kyara_kedro.prompts.rag_format import has_references, question_of
from kyara_kedro.text.fold import fold

TAGGER = "tags-rules-v1"
GROUNDED = "檢索問答"
FALLBACK = "一般任務"

INTENTS = {
    "翻譯": r"翻譯|譯成|譯為|(英文|中文|日文)怎麼說|translat",
    "摘要": r"摘要|總結|歸納重點|重點整理|濃縮|summar",
    "改寫": (
        r"改寫|重寫|潤飾|換句話說|改成|簡化(以下|這)|修改(以下|這)|rewrite|rephrase|paraphras"
        r"|edit the"
    ),
    "程式設計": (
        r"程式|函[式數]|演算法|代碼|除錯|正規表示式"
        r"|\b(python|javascript|java|sql|html|css|code|coding|function|algorithm|debug|regex)\b"
        r"|c\+\+"
    ),
    "數學計算": (
        r"計算|求[出解]|(最大|最小)值|多少(元|錢|公[里尺斤分])|方程|面積|體積|機率|百分比"
        r"|平均(數|值)|總共|\d\s*[+×÷*/=]\s*\d|calculat|compute"
        r"|find the (area|maximum|minimum|sum)|equation|how many .{0,40}(left|total|altogether)"
        r"|solve for|probability|average of"
    ),
    "寫作": (
        r"寫(一|出|篇|首|封|段)|撰寫|創作|作文|編(一個|寫).{0,6}(故事|劇本)|文案|書信|詩"
        r"|write (a|an|the|me|about)\b|compose|essay|poem|story|slogan"
    ),
    "角色扮演": r"扮演|假裝你是|你(現在)?是一(位|名|個)|role-?play|act as|pretend|you are (a|an)\b",
    "分類": (
        r"分類|歸類|類別|判斷.{0,12}(正面|負面|類型|情緒)|情感分析|classif|categori[sz]e"
        r"|sentiment"
    ),
    "資訊擷取": r"擷取|抽取|提取|找出(文中|下列|以下|句中)|辨識(句|文)|extract|identify the",
    "比較分析": r"比較|差別|差異|差在|異同|優缺點|compare|contrast|difference|versus|pros and cons",
    "原因解釋": r"為什麼|為何|原因|怎麼會|成因|解釋|\bwhy\b|explain|reason",
    "定義說明": (
        r"什麼是|是什麼|定義|意思|何謂|what (is|are) (a |an |the )?\w+\?|define|definition"
        r"|meaning"
    ),
    "步驟教學": (
        r"步驟|如何|怎麼(做|辦|樣)|教我|方法|教學|how (to|do|can)|step|instructions|tutorial"
    ),
    "規劃建議": (
        r"規劃|計[畫劃]|行程|建議|推薦|安排|提示|技巧|\bplan\b|itinerary|recommend|suggest"
        r"|advice|tips"
    ),
    "清單列舉": (
        r"列出|列舉|舉例|舉出|條列|清單|\blist\b|name (two|three|four|five|some)|examples? of"
        r"|give (me )?(two|three|four|five)"
    ),
    "創意發想": (
        r"發想|點子|命名|取(一)?個?名|構想|腦力激盪|brainstorm|ideas?\b|come up with|invent"
    ),
    "校對修正": r"校對|糾正|更正|文法|錯字|病句|拼寫|correct|grammar|proofread|spelling|punctuat",
    "推理判斷": (
        r"推論|推理|判斷|邏輯|是否(正確|合理)|假設|infer|deduce|logic|true or false|suppose"
    ),
    "格式轉換": r"json|表格|轉換(成|為)|markdown|\bcsv\b|\bxml\b|\btable\b|convert",
    "事實問答": (
        r"誰|何時|什麼時候|哪一?[年個位裡座國家些]|多少|幾[年個位座人]|\bwho\b|\bwhen\b"
        r"|\bwhere\b|\bwhich\b|how (many|much|old|long|far)|what (is|was|were|are) the"
        r"|查(一下|找|詢)|look up|what (does|did|type|kind)"
    ),
    "分析評論": r"分析|評論|評估|評價|analy[sz]|evaluat|assess|critique",
    "描述介紹": r"描述|介紹|說明|概述|闡述|討論|describ|discuss|outline|introduc|overview",
    "設計產生": (
        r"設計|建立|建構|創建|產生|生成|製作|提出|design|create|generat|construct|produce"
        r"|propose|make a"
    ),
    "閒聊": (
        r"^(你好|您好|嗨|哈囉|早安|晚安|謝謝)|聊聊|聊天|心情|^(hi|hello|hey|thanks|thank you)\b"
    ),
}
"""Tasks by the words (zh and en, any script and case) that ask for them; order is precedence."""

TOPICS = {
    "地理": (
        r"縣|城市|首都|山脈|河流|海洋|島|氣候|國家|地理|平原|geograph|capital of|country"
        r"|mountain|river"
    ),
    "歷史": r"歷史|朝代|世紀|戰爭|帝國|清代|日治|皇帝|革命|history|century|\bwar\b|empire|ancient",
    "科學": (
        r"物理|化學|生物|細胞|分子|原子|能量|天文|行星|植物|動物|基因|實驗|physics|chemi|biolog"
        r"|cell\b|atom|energy|planet|species|scien"
    ),
    "環境": (
        r"環境|污染|氣候變遷|全球暖化|永續|回收|生態|environment|pollution|climate change|recycl"
        r"|ecosystem"
    ),
    "科技": (
        r"電腦|軟體|網路|人工智慧|機器學習|晶片|半導體|手機|資料庫|科技|computer|software"
        r"|internet|artificial intelligence|machine learning|technolog|\bai\b|database"
    ),
    "數學": (
        r"數學|幾何|代數|三角形|質數|函數|統計|math|geometr|algebra|triangle|prime number"
        r"|statistic"
    ),
    "商業": (
        r"公司|企業|市場|行銷|產品|客戶|投資|經濟|股票|管理|business|market|customer|invest"
        r"|econom|company"
    ),
    "法律": (
        r"法律|憲法|法院|條例|契約|權利|著作權|犯罪|\blaws?\b|legal|constitution|court\b"
        r"|copyright"
    ),
    "政治": r"政府|總統|選舉|政黨|民主|政策|立法|government|president|election|democra|politic",
    "健康": (
        r"健康|疾病|醫|症狀|藥|運動|飲食習慣|心理|睡眠|health|disease|medic|symptom|exercise"
        r"|mental|sleep"
    ),
    "飲食": r"料理|食譜|食材|小吃|餐|茶|咖啡|烹|recipe|cook|food|meal|dish|ingredient|restaurant",
    "教育": (
        r"學校|學生|老師|課程|教育|學習|考試|大學|school|student|teacher|educat|universit|exam\b"
    ),
    "旅遊": r"旅遊|旅行|景點|觀光|飯店|機票|travel|trip\b|touris|hotel|vacation",
    "文學": r"小說|詩|文學|作家|成語|散文|novel|poem|poet|literature|author|metaphor",
    "藝術文化": (
        r"藝術|音樂|電影|繪畫|戲劇|節日|廟|習俗|文化|歌|\bart\b|music|movie|film|paint|festival"
        r"|cultur|song"
    ),
    "語言": (
        r"詞語|句子|動詞|名詞|形容詞|同義|反義|語法|英文|中文|sentence|verb|noun|adjective"
        r"|synonym|antonym|vocabular"
    ),
    "運動": (
        r"籃球|足球|棒球|奧運|球隊|比賽|游泳|basketball|football|soccer|baseball|olympic|athlet"
        r"|sport"
    ),
    "生活": r"家庭|朋友|寵物|購物|房屋|衣服|交通|family|friend|pet\b|shopping|clothes|household",
    "職場": r"面試|履歷|同事|工作|職業|求職|interview|resume|cover letter|colleague|career|\bjob\b",
}
"""Subjects by key terms."""


def tag(conversations: pl.DataFrame) -> pl.DataFrame:
    """Tag conversations by what their users say.

    Reference documents of a prompt are left out: they are about anything. Tags come in the order
    of :data:`INTENTS` and :data:`TOPICS`, so the first tag is the main task.

    Args:
        conversations: A table of :data:`kyara_kedro.records.CONVERSATION`.

    Returns:
        Columns id and raw_tags (at least one tag each).
    """
    asked = pl.DataFrame(
        [
            (row_id, *_asked(turns))
            for row_id, turns in conversations.select("id", "messages").rows()
        ],
        schema={"id": pl.String, "text": pl.String, "grounded": pl.Boolean},
        orient="row",
    )
    rules = [
        pl.when(pl.col("text").str.contains(fold(pattern))).then(pl.lit(name))
        for name, pattern in (INTENTS | TOPICS).items()
    ]
    grounded = pl.when("grounded").then(pl.lit(GROUNDED))
    found = pl.concat_list(grounded, *rules).list.drop_nulls()
    return asked.select(
        "id",
        raw_tags=pl.when(found.list.len() > 0).then(found).otherwise(pl.lit([FALLBACK])),
    )


def _asked(turns: list[Message]) -> tuple[str, bool]:
    said = [turn["content"] for turn in turns if turn["role"] == "user"]
    return fold("\n".join(map(question_of, said))), any(map(has_references, said))
