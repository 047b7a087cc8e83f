"""What people call kinds, relations, notes and columns, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Mapping

from kyara_kedro.lineage.kinds import KINDS, Term

TERMS: Mapping[str, Term] = {name: kind.term for name, kind in KINDS.items()} | {
    "model": Term("模型", "model"),
    "version": Term("模型版本", "model version"),
    "table": Term("資料表", "table"),
    "reply": Term("教師回覆", "teacher's reply"),
    "dropped": Term("未留用的紀錄", "dropped record"),
}
"""Kinds of records as people read them."""

RELATIONS: Mapping[str, Term] = {
    "made_from": Term("取自", "made from"),
    "shown": Term("參考了", "was shown"),
    "because_of": Term("起因", "because of"),
    "holds": Term("內容", "holds"),
    "started_from": Term("起點", "started from"),
    "learned": Term("學自", "learned from"),
    "answered_by": Term("作答者", "answered by"),
    "learned_by": Term("用於訓練", "learned by"),
    "start_of": Term("後續階段", "went on as"),
    "registered_as": Term("登記為", "registered as"),
}
"""What a record is to another one, from the one that is explained first."""

MADE: Mapping[str, Term] = {
    "made_from": Term("產出", "made of it"),
    "shown": Term("曾被參考", "shown to"),
    "called": Term("由此回覆產出", "made with it"),
    "copies": Term("視為其重複而移除", "removed as its copies"),
    "leaks": Term("因含此題而移除", "dropped for holding it"),
}
"""What records that were made of one, or because of it, are to it."""

NOTES: Mapping[str, Term] = {
    note.name: note.term for kind in KINDS.values() for note in kind.notes
} | {
    "verdict": Term("判定", "verdict"),
    "similar": Term("相近", "similar"),
    "stage": Term("訓練", "training"),
}
"""What other tables say of a record, as people read it."""

COLUMNS: Mapping[str, Term] = {
    name: Term(zh, name)
    for name, zh in {
        **{
            "user": "使用者",
            "assistant": "助理",
            "system": "系統",
            "text": "內文",
            "title": "標題",
        },
        **{
            "response": "回答",
            "output": "輸出",
            "chosen": "較佳",
            "rejected": "較差",
            "prefix": "前文",
        },
        **{"problem": "題目", "question": "題目", "prompt": "提示", "summary": "摘要"},
        **{"first": "甲", "second": "乙", "reference": "參考答案"},
        **{"source": "來源", "language": "語言", "licence": "授權", "url": "網址", "file": "檔案"},
        **{"rounds": "輪數", "tokens": "詞元", "teacher": "教師", "prompt_version": "提示版本"},
        **{
            "passage_id": "段落編號",
            "start": "起",
            "end": "迄",
            "kind": "種類",
            "operation": "演化",
        },
        **{
            "round": "輪次",
            "answer": "答案",
            "evidence": "依據",
            "rank": "名次",
            "relevant": "相關",
        },
        **{
            "retrieval_score": "檢索分數",
            "category": "類別",
            "tags": "標籤",
            "raw_tags": "原始標籤",
        },
        **{"complexity": "標籤數", "tagger": "標註者", "score": "分數", "scorer": "評分者"},
        **{"kept_id": "留下的", "other_id": "另一筆", "method": "方法", "similarity": "相似度"},
        **{
            "group_id": "群組",
            "kept": "留用",
            "benchmark": "評測",
            "item_id": "題號",
            "part": "部分",
        },
        **{"coverage": "涵蓋", "contestant": "參賽者", "family": "家族", "verdict": "判定"},
        **{"judge": "評審", "judge_family": "評審家族", "reason": "原因", "detail": "細節"},
        **{"first_contestant": "先示者", "second_contestant": "後示者", "first_chars": "先示字數"},
        **{"second_chars": "後示字數", "margin": "差距", "judged_orders": "判定順序數"},
        **{"score_chosen": "較佳分數", "score_rejected": "較差分數", "p_chosen": "較佳勝率"},
        **{
            "p_rejected": "較差勝率",
            "model": "模型",
            "metric": "指標",
            "value": "數值",
            "stage": "階段",
        },
        **{
            "role": "角色",
            "base": "起始模型",
            "path": "路徑",
            "run_id": "執行編號",
            "aliases": "別名",
        },
        **{
            "reasons": "理由",
            "scores": "成績",
            "choices": "選項",
            "stratum": "分層",
            "weight": "權重",
        },
        **{
            "no_answer": "未答",
            "scorer_version": "計分版本",
            "rows": "筆數",
            "held_out": "保留驗證",
        },
        **{"sources": "來源別", "rests_on": "溯及", "files": "檔案別", "decision": "決定"},
        **{"reviewer": "審閱者", "iteration": "迭代", "sample": "樣本", "stopped": "自行停止"},
        **{"aspects": "面向", "opponent": "對手", "swapped": "對調"},
        **{"cost": "費用", "latency": "秒數", "finish_reason": "結束原因", "task": "工作"},
        **{
            "prompt_tokens": "提示詞元",
            "completion_tokens": "回覆詞元",
            "cached_tokens": "快取詞元",
        },
        **{"served_by": "服務者", "received_at": "收到時間", "prompt_state": "提示現況"},
        **{"training_fingerprint": "訓練指紋", "agreed": "一致數", "solutions": "解法數"},
        **{"difficulty": "難度", "teachers": "教師", "conversation_id": "對話", "fault": "問題"},
    }.items()
}
"""Columns and speakers."""


def column(name: str) -> str:
    """A column's or speaker's name as people read it."""
    return str(COLUMNS.get(name, name))
