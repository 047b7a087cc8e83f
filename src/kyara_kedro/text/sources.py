"""How a text speaks of the documents that it rests on: 根據所提供的文件顯示, as the passage states.

One vocabulary for all who look for it: answers that name documents which their reader does not see,
questions that lean on one, refusals, and what is not said by a sentence that begins so. All
patterns are for folded text (`kyara_kedro.text.fold.fold`).
"""

import re
import unicodedata

from kyara_kedro.text.fold import fold

TEXTS = fold(
    r"(?:文件(?!物件|系統|夾|格式|名)|文檔|文章(?!學)|短文|文本(?!分析|探勘)|段落|[段篇]文字|段話|內文|篇章"
    r"|資料(?![庫夾表型集]|中心|結構|科學|處理|探勘|量)|材料(?!科學|力學)|內容(?!行銷)|敘述|描述|條目|報導(?!文學))"
)
"""Nouns for the texts in hand, but for compounds with another meaning (資料庫, 文件物件模型)."""
BARE = fold(
    r"(?:文件(?!物件|系統|夾|格式|名)|文檔|文章(?!學)|短文|文本(?!分析|探勘)|段落|[段篇]文字|內文)"
)
"""Those of them that are hardly ever anything else, 材料中 and 資料中 excepted."""
SHOWN = fold(
    r"(?:以上|上述|上面|上方|前述|下列|所?(?:提供|附上?|給定?|引用?)|[你您]們?所?(?:提供|給)|這[一些幾]?[份篇段則個]?"
    r"|[該此][份篇段則]?|參考|參照|檢索到)的?"
)
"""What says that a text is the one in hand. Repeat it: 您所提供的參考文件."""
_POINTED = rf"(?:{SHOWN}){{1,4}}(?:{TEXTS}|{fold('文獻|資訊')})"
_ANY = rf"(?:{_POINTED}|{BARE}|{fold('資料(?![庫夾表型集]|中心|結構|科學|處理|探勘|量)')})"
_WITHIN = fold("(?:之?[中內]|[裡里]面?|當中)")
_TELLS = fold(
    "(?:提到|提及|指出|所述|所載|所示|所說|所提[及到]?|的?記載|記錄|顯示|說明|描述|敘述|可以?(?:得知|看出|知道|知|發現)|得知"
    "|寫道|強調|介紹|表示|來看|表明)"
)
_COMMA = r"\**[，,：:]"
_START = r"(?:^|(?<=[，,。；;！!？?：:\n\s*]))"
_ZH = (
    rf"(?:根據|依據|依照|按照|參照|如同?|正如){_ANY}(?:的?內容|的?資訊|的?說明|的?描述)?{_WITHIN}?的?"
    rf"(?:{_TELLS}{_COMMA}?|{_COMMA})",
    rf"(?:[從由在]|根據){_ANY}(?:的?內容)?{_WITHIN}?的?{_TELLS}{_COMMA}?",
    rf"(?:[從由在]|根據){_ANY}{_WITHIN}{_COMMA}",
    rf"{_START}(?:{_POINTED}|{BARE}){_WITHIN}?(?:[還也並都則]|同時)?"
    rf"(?:明確|清楚)?(?:有)?{_TELLS}{_COMMA}?",
    rf"(?:{_START}|[如在據])(?:本文|上文|前文|原文|文[中內]){_WITHIN}?(?:[還也並]|同時)?"
    rf"{_TELLS}{_COMMA}?",
)
_KIND = (
    r"(?:provided|given|supplied|reference|referenced|retrieved|attached|above|following|source)"
)
DOCUMENT = (
    r"(?:documents?|passages?|texts?|references?|excerpts?|materials?|articles?|paragraphs?"
    r"|sources?|context|information)(?! of\b| \d| object)"
)
_EN = (
    rf"\b(?:according to|based on|as (?:\w+ )?(?:stated|mentioned|described|noted|indicated|shown"
    rf"|explained|outlined) (?:in|by)) (?:the|these|this|those|your) (?:{_KIND} )*{DOCUMENT}\b,?",
    rf"\b(?:in|from) (?:the|these|this|those) (?:{_KIND} )*{DOCUMENT},",
    rf"(?:^|(?<=[.!?;:,\n] )|(?<=\n))(?:the|this|these|both) (?:{_KIND} )*{DOCUMENT}"
    r" (?:also |further |clearly |explicitly )?(?:state|say|mention|note|describe|indicate|explain"
    r"|show|suggest|report|highlight|specif(?:y|ie)|list|discusse?|point)s?\b(?: out)?(?: that)?",
    rf"\b(?:the|these|this) (?!following )(?:{_KIND} )+{DOCUMENT}\b",
)
_NAMED = re.compile("|".join((*map(fold, _ZH), *_EN)))


def names_sources(text: str) -> str | None:
    """The words by which a text refers to documents in hand, or None."""
    found = _NAMED.search(fold(text))
    return found[0].strip(" ,，") if found else None


def without_sources(text: str) -> str:
    """A text without the words that refer to documents in hand: what it says itself."""
    text = unicodedata.normalize("NFKC", text)
    folded = fold(text)
    if len(folded) != len(text):
        text = folded
    parts, last = [], 0
    for found in _NAMED.finditer(folded):
        parts.append(text[last : found.start()])
        last = found.end()
    return "".join([*parts, text[last:]])
