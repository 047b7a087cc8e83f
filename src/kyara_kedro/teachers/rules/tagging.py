"""Intention tags by key words, each with the reason why it was given."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TAGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "zh-TW": (
        ("數學計算", r"多少元|平均|總共|一共|百分比|折扣|面積|速度是|方程|\d\s*[+×÷*/]\s*\d"),
        ("寫作", r"請寫(一|出|篇)|撰寫|作文|文章|故事|小傳|文案|信件|詩"),
        ("改寫", r"改寫|換句話說|潤飾|重寫"),
        ("翻譯", r"翻譯|譯成|英文怎麼說"),
        ("摘要", r"摘要|總結|重點整理|整理.{0,12}重點"),
        ("程式設計", r"程式|程式碼|Python|JavaScript|SQL|函式|演算法"),
        ("規劃", r"規劃|行程|計畫|安排|清單"),
        ("比較", r"比較|差別|差在|不同|優缺點"),
        ("因果解釋", r"為什麼|為何|原因|怎麼形成|起因|影響"),
        ("時間查詢", r"哪一年|哪一天|什麼時候|何時|年代"),
        ("數量查詢", r"多少|幾[個座條位公天歲]|百分之"),
        ("人物查詢", r"誰|哪一位|何人"),
        ("地點查詢", r"哪裡|哪個地方|何處|位於"),
        ("作品查詢", r"哪一部|哪一項條約|《"),
        ("名詞定義", r"是什麼|什麼是|定義|稱為什麼|又稱|簡稱"),
        ("JSON 格式", r"JSON"),
        ("表格格式", r"表格|Markdown"),
        ("逐步推理", r"逐步|步驟|推理|推論"),
        ("多重提問", r"\n\s*2[.、]|依序回答|兩個問題|兩件事"),
        ("簡短回答", r"只給答案|只回答|只寫出答案|直接說出答案|一句話|字以內"),
        ("引用來源", r"引用|原文|依據|出處|【id_|參考文件"),
        ("情境假設", r"假設|假如|如果你|扮演|情境|被遊客問|主持人"),
        ("臺灣地理", r"縣|島|山脈|溪|水庫|平原|峽谷|海峽"),
        ("歷史", r"世紀|時期|朝|日治|清代|戰爭|條約|歷史|\d{3,4}年"),
        ("科學", r"反應|細胞|物理|化學|植物|動物|能量|分子|地震|颱風|科學|星"),
        ("法律", r"法律|憲法|法院|條例|權利|勞動基準法|著作權"),
        ("飲食", r"料理|小吃|茶|咖啡|食|糖|奶"),
        ("文化", r"祭典|廟|媽祖|戲|原住民|文學|電影|音樂|節"),
        ("科技", r"電腦|軟體|網路|晶片|半導體|資料|人工智慧"),
    ),
    "en": (
        ("arithmetic", r"how many dollars|average|percent|area|speed|\d\s*[+×*/]\s*\d"),
        ("writing", r"\bwrite (a|an|the)\b|essay|story|poem|email"),
        ("rewriting", r"rewrite|rephrase|paraphrase"),
        ("translation", r"translate"),
        ("summarisation", r"summari[sz]e|summary"),
        ("programming", r"\bcode\b|python|javascript|sql|function|algorithm"),
        ("planning", r"\bplan\b|schedule|itinerary|checklist"),
        ("comparison", r"compare|difference|versus|pros and cons"),
        ("explanation", r"\bwhy\b|explain|how does|reason"),
        ("time query", r"which year|what year|when\b|which date"),
        ("quantity query", r"how many|how much|what percentage"),
        ("person query", r"\bwho\b|\bwhom\b"),
        ("place query", r"\bwhere\b"),
        ("definition", r"what (is|are|was|were)\b|called what|define"),
        ("json format", r"json"),
        ("table format", r"table|markdown"),
        ("step by step", r"step by step|steps"),
        ("several questions", r"\n\s*2[.)]"),
        ("short answer", r"answer only|only the answer|answer alone|just the answer|one sentence"),
        ("citation", r"quote|cite|source|【id_|reference document"),
        ("scenario", r"suppose|imagine|role-?play|quiz show|museum guide"),
        ("history", r"century|war|empire|history|\b1[0-9]{3}\b"),
        ("science", r"physics|chem|biolog|cell|energy|planet|water|scien"),
    ),
}
_FALLBACK = {"zh-TW": "一般問答", "en": "general question"}
_WHY = {"zh-TW": "要求中出現「{found}」", "en": 'the request contains "{found}"'}
_WHY_NOT = {"zh-TW": "沒有更具體的線索", "en": "nothing more specific was found"}
_MOST = 8


def tag(request: str, language: str) -> list[tuple[str, str]]:
    """Tags of a request with the words that earned them, at least one and at most eight."""
    found = [
        (name, _WHY[language].format(found=match[0].strip()))
        for name, pattern in _TAGS[language]
        if (match := re.search(pattern, request, re.IGNORECASE))
    ]
    return found[:_MOST] or [(_FALLBACK[language], _WHY_NOT[language])]
