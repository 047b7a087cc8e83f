"""What a request asks for and is about, told by its words: the rules of the embedded tagger.

Tags follow InsTag's idea (arXiv:2308.07074): several fine-grained tags a request, the task first,
then the form that the answer shall have, and the subjects. A language model finds finer ones.
"""

from __future__ import annotations

import re

import polars as pl

from kyara_kedro.text.fold import fold

FALLBACK = "一般任務"

INTENTS = {
    "翻譯": r"翻譯|譯成|譯為|(英文|中文|日文)怎麼說|translat",
    "摘要": r"摘要|總結|歸納重點|重點整理|濃縮|summar",
    "改寫": (
        r"改寫|重寫|潤飾|換句話說|改成|簡化(以下|這)|修改(以下|這)|rewrite|rephrase|paraphras"
        r"|edit the"
    ),
    "程式設計": (
        r"程式|函式|演算法|代碼|編碼|腳本|編寫.{0,8}函數|除錯|正規表示式|正則|陣列|數組|字串"
        r"|\b(python|javascript|java|matlab|sql|html|css|code|coding|algorithm|debug|regex|array)\b"
        r"|regular expression|binary tree|\bscript that|write a (function|program|script|query)"
        r"|c\+\+"
    ),
    "數學計算": (
        r"計算|求[出解]|(最大|最小)值|多少(元|錢)|方程|面積|體積|機率|百分比"
        r"|平均|公倍數|公因數|進制|總共|\d\s*[+×÷*/=]\s*\d|calculat|compute"
        r"|find the (area|maximum|minimum|sum)|equation|how many .{0,40}(left|total|altogether)"
        r"|solve for|probability|average of|antiderivative|find the limit|\bf\(x\)"
        r"|common (multiple|factor)|median"
    ),
    "寫作": (
        r"寫(一|篇|首|封|段)|撰寫|創作|作文|編(一個|寫).{0,6}(故事|劇本)|起草|造句|笑話|謎語|口號|文案|書信|詩"
        r"|write (a|an|the|me|about)\b|compose|\bdraft|essay|poem|story|slogan"
    ),
    "角色扮演": r"扮演|假裝你是|你(現在)?是一(位|名|個)|role-?play|act as|pretend|you are (a|an)\b",
    "分類": (
        r"分類|歸類|類別|判斷.{0,12}(正面|負面|類型|情緒)|情感分析|classif|categori[sz]e"
        r"|sentiment"
    ),
    "資訊擷取": r"擷取|抽取|提取|找出|找到|辨識(句|文)|extract|identify the",
    "比較分析": (
        r"比較|差別|差異|區別|差在|異同|優缺點|compare|contrast|difference|versus|pros and cons"
    ),
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
        r"列出|列舉|舉出|[給說]出 ?[\d一兩三四五幾]|舉例|舉一個|條列|清單"
        r"|提供[一兩三幾]|[給說]我.{0,3}個"
        r"|\blist\b|\bname ([2-9]|one|two|three|four|five|some|a|an)\b|examples? of"
        r"|(give|write|provide) (me )?([2-9]|two|three|four|five)\b"
    ),
    "創意發想": (
        r"發想|點子|命名|取(一)?個?名|構想|腦力激盪|brainstorm|ideas?\b|come up with|invent"
    ),
    "校對修正": r"校對|糾正|更正|文法|錯字|病句|拼寫|correct|grammar|proofread|spelling|punctuat",
    "推理判斷": (r"預測|推論|推理|判斷|邏輯|是否|infer|deduce|logic|true or false|predict"),
    "格式轉換": r"轉(換|成|為)|標準化|\bconvert\b|transform the|standardi[sz]e",
    "單位換算": r"換算|攝氏|華氏|度量單位|celsius|fahrenheit|kilomet(er|re)s? to|to (grams|kg)\b",
    "排序": r"排序|排列|升序|降序|\bsort\b|\barrange|\border these|ascending|descending|\brank\b",
    "續寫填空": (
        r"續寫|接著寫|補全|填空|填入|填上|完成(以下|下列|這個)|complete the|fill in|finish the"
    ),
    "時間查詢": (
        r"哪一?[年天月]|何時|什麼時候|年代|幾[年點月]|\bwhen (did|was|were|is|will)\b"
        r"|(which|what) (year|date|day|time)"
    ),
    "人物查詢": r"誰|哪一?位|何人|\bwho (is|was|are|were|did|wrote|won|has|invented)\b",
    "地點查詢": (
        r"哪[裡兒]|哪一?個?(地方|城市|國家|縣市)|何處|位於何|\bwhere (is|are|was|were|did|can)\b"
        r"|(which|what) (city|country|place)"
    ),
    "數量查詢": (
        r"多少|幾[個位座人條種次歲公天倍]|百分之幾|how (many|much|old|long|far|tall|high|often)"
        r"|what (percentage|number|proportion)"
    ),
    "作品查詢": (
        r"哪一?(部|本|首|幅|齣|項)|(which|what) (book|film|movie|song|novel|work|treaty|act)\b"
    ),
    "事實問答": (
        r"哪一?[個些種類座間]|查(一下|找|詢)|look up|\bwhich\b|how did|called what"
        r"|what (is|was|were|are) (the|a|an)\b|what (does|did|type|kind|term)"
    ),
    "分析評論": r"分析|評論|評估|評價|analy[sz]|evaluat|assess|critique",
    "描述介紹": r"描述|形容|介紹|說明|概述|闡述|討論|describ|discuss|outline|introduc|overview",
    "設計產生": (
        r"設計|建立|建構|創建|產生|生成|製作|提出|design|create|generat|construct|produce"
        r"|propose|make a"
    ),
    "閒聊": (
        r"^(你好|您好|嗨|哈囉|早安|晚安|謝謝)|聊聊|聊天|心情|^(hi|hello|hey|thanks|thank you)\b"
    ),
}
"""Tasks by the words (zh and en, any script and case) that ask for them; order is precedence."""

FORMS = {
    "JSON 格式": r"\bjson\b",
    "表格格式": r"表格|markdown|\bcsv\b|\bxml\b|\b(as|in|into) a table\b|\btable (format|with)\b",
    "簡短回答": (
        r"(只|僅)(給|要|需|回答|寫出|說出|列出|輸出)|直接(說出|給出|回答)|一句話|字(以內|之內|左右)"
        r"|簡短|簡潔|only the answer|answer only|just the answer|one sentence|in one word|brief"
        r"|\bshort\b|(less|fewer|no more) than \d+ words|within \d+ words|concise"
    ),
    "詳細說明": r"詳細|深入|完整地|in detail|detailed|thorough|in-depth|comprehensive",
    "逐步推理": r"逐步|一步一步|推導|(計算|推理)過程|step[ -]by[ -]step|show your (work|reasoning)",
    "多重提問": (
        r"\n\s*2[.、)]|依序回答|分別回答|[兩三]個問題|兩件事|answer both|following questions"
    ),
    "引用出處": r"引用|原文|依據|出處|參考文件|\bcit(e|ation)|\bquote|\bsources?\b|references?\b",
    "情境假設": (
        r"假設|假如|如果你|想像|情境|場景|被遊客問|主持人|suppose|imagine|scenario"
        r"|quiz show|museum guide"
    ),
}
"""What the answer shall look like, or be set in."""

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

_RULES = INTENTS | FORMS | TOPICS


def find_intentions(texts: pl.Series) -> pl.Series:
    """Tag requests by their words.

    Args:
        texts: What was asked.

    Returns:
        Lists of tags, one for each text and never empty, in the order of :data:`INTENTS`,
        :data:`FORMS` and :data:`TOPICS`, so that the first tag is the main task.
    """
    rules = [
        pl.when(pl.col("text").str.contains(fold(pattern))).then(pl.lit(name))
        for name, pattern in _RULES.items()
    ]
    found = pl.concat_list(rules).list.drop_nulls()
    tagged = pl.when(found.list.len() > 0).then(found).otherwise(pl.lit([FALLBACK]))
    folded = pl.Series("text", map(fold, texts), pl.String)
    return folded.to_frame().select(tags=tagged)["tags"]


def explain_intentions(text: str) -> list[tuple[str, str]]:
    """Tag one request as :func:`find_intentions` does, each tag with the words that earned it.

    Beside a sign such as ❶ Python sees no end of a word where polars does, and a tag is missing.
    """
    folded = fold(text)
    found = [
        (name, _words(pattern, text))
        for name, pattern in _RULES.items()
        if re.search(fold(pattern), folded)
    ]
    return found or [(FALLBACK, "")]


def _words(pattern: str, text: str) -> str:
    """The words as they stand in the text; empty where folding alone brought them together."""
    found = re.search(f"{pattern}|{fold(pattern)}", text, re.IGNORECASE)
    return found[0].strip() if found else ""
