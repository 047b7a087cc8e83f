"""Questions from Traditional Chinese sentences: the wh-word stands where the answer stood.

Chinese keeps the word order in questions (「他在1912年提出」, 「他在哪一年提出」), so a question
is a sentence with one span replaced. The rules are few and strict: a sentence that leans on its
neighbours gives no question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kyara_kedro.teachers.rules.cloze import Blank, Cloze
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold

_HAN = "\u4e00-\u9fff"
_NUMERAL = "一二三四五六七八九十百千萬億兩〇零"
_JOINED_BEFORE = r"(?<!\d，)(?<![\d.,第至到~～\-–—－－和與及或、])"
_JOINED_AFTER = r"(?![至到~～\-–—－和與及或、]\s*[\d一二三四五六七八九十])(?!之間)"

_DATE = re.compile(
    rf"{_JOINED_BEFORE}(?P<era>(?:公元|西元)?前?|民國|光緒|同治|咸豐|道光|嘉慶|乾隆|雍正|康熙"
    rf"|順治|崇禎|萬曆"
    rf"|昭和|大正|明治|平成)"
    rf"(?P<year>\d{{1,4}}|[{_NUMERAL}元]{{1,4}})年(?P<month>\d{{1,2}}月|[{_NUMERAL}]{{1,3}}月)?+"
    rf"(?P<day>\d{{1,2}}日|[{_NUMERAL}]{{1,3}}日)?+{_JOINED_AFTER}(?![代度級底初末中春夏秋冬"
    rf"齡份間來])"
    rf"(?!以[前後來])(?!前後)(?![{_NUMERAL}\d])"
)
_UNITS = (
    "平方公里|千米|千克|平方公尺|立方公尺|立方公分|公里|公尺|公分|公釐|毫米|厘米|奈米|微米|海"
    "里|英里|英"
    "尺|英寸|光年"
    "|公頃|公噸|公斤|公克|毫克|噸|公升|毫升|克拉|千瓦|瓩|赫茲|攝氏度|度|個百分點|個月|個星期|"
    "個小時|小時|分鐘"
    "|秒鐘|星期|歲|天|人次|人|位|名|座|種|項|條|所|家|艘|架|隻|頭|棟|層|支|枚|顆|部|本|篇|首|"
    "幅|張|塊|根|台|輛"
    "|件|場|屆|戶|縣|州|省|國|個|倍|美元|日圓|日元|歐元|英鎊|新臺幣|元|字|頁|集|級|克|米|年"
)
_NUMBER = re.compile(
    rf"{_JOINED_BEFORE}(?<![{_NUMERAL}分數前元幾A-Za-z])(?P<value>\d[\d,]*(?:\.\d+)?(?:多|餘)"
    rf"?[百千萬"
    rf"億兆]*(?:多|餘)?"
    rf"|[{_NUMERAL}]{{1,8}}(?:多|餘)?)(?P<unit>{_UNITS}){_JOINED_AFTER}(?![{_NUMERAL}\d])"
    rf"(?!性|體|類|民|口|型|級|以上的|之一|世紀|家|王|際|國|代|度|道)"
)
_SPANS = frozenset({"年", "個月", "天", "小時", "個小時", "分鐘", "星期", "個星期"})
_PERCENT = re.compile(
    rf"{_JOINED_BEFORE}(?P<value>\d[\d.]*\s?[%％]|百分之[{_NUMERAL}\d][{_NUMERAL}\d點.]*)"
    rf"{_JOINED_AFTER}"
)
_ORDINAL = re.compile(
    rf"第(?P<value>[{_NUMERAL}]{{1,3}}|\d{{1,2}})(?P<unit>大|高(?!等|中|級)|長|多|位|任|屆|座"
    rf")(?=[{_HAN}])"
)

_ROLE = (
    "學家|科學家|醫師|醫生|總統|皇帝|國王|女王|教宗|作家|詩人|畫家|工程師|建築師|傳教士|牧師|"
    "總督|巡撫|知府|將軍|導演"
    "|商人|企業家|僧人|藝術家|攝影師|設計師|發明家|航海家|探險家|思想家|政治家|作曲家|音樂家|"
    "教授|學者|院士|神父"
    "|法師|選手|軍官|市長|縣長|首相|總理|主席|部長|匠師|專家|船長|醫官|隊長|文人|廚師|記者|律"
    "師|修士|官員|技師|書法家"
)
_NAME = rf"(?:[{_HAN}]{{1,7}}(?:[·‧・][{_HAN}]{{1,8}}){{1,3}}|[{_HAN}]{{2,6}}?)"
_ACTS = (
    "提出|發明|發現|設計|建立|創立|創辦|撰寫|寫下|寫成|編寫|完成|證明|主持|擔任|率領|帶領|認"
    "為|指出|主張|發表|出版"
    "|發起|製成|繪製|拍攝|興建|修建|建造|開闢|推動|引進|創造|創作|改良|研發|開發|登上|抵達|首"
    "次|首先|率先|最早"
    "|測出|量出|觀察|觀測|獲得|合成|分離|翻譯|編纂|建議|預言|預測|命名|繼位|即位|登基|出任|當"
    "選|執導|發行|製作"
)
_ROLE_NAME = re.compile(
    rf"(?:^|(?<=[，；由被]))(?P<role>[{_HAN}]{{0,8}}?(?:{_ROLE}))(?P<name>{_NAME})"
    rf"(?=(?:在|於|將|把|以|曾|從)(?!內)|{_ACTS})"
)
_NOT_ROLE = re.compile(
    r"^[於這那此該]|不過|一些|許多|不少|某些|其後|之後|其他|各|部分|有些|多位|[和與及]"
)
_SURNAMES = (
    "王李張劉陳楊黃趙周吳徐孫朱胡郭何林羅鄭梁謝宋唐許韓馮鄧曹彭曾蕭田董袁潘蔣蔡余杜葉程蘇魏呂"
    "丁任沈姚盧姜崔鍾譚陸汪"
    "范金石廖賈夏韋傅方鄒孟熊秦邱江尹薛閻段雷侯龍史陶黎賀顧毛郝龔邵萬錢嚴戴莫孔向湯"
)
_SURNAME_NAME = re.compile(
    rf"(?:^|(?<=[，；年]))(?P<name>[{_SURNAMES}](?![{_HAN}]?[國朝家氏省市縣島山河])[{_HAN}]{{1,2}})"
    rf"(?=發明|撰寫|寫下|寫成|著有|率領|主持|提出|證明|擔任|即位|登基|繼位|發現|創辦|創立|執"
    rf"導|出任|當選|設計|編寫)"
)
_AGENT = re.compile(
    rf"(?<=由)(?P<name>[{_HAN}A-Za-z·‧・ 、]{{2,18}}?)(?P<act>所?(?:創立|創辦|創建|建立|成立|"
    rf"發明|發現|設計|建造|興建|修建|"
    rf"開發|研發|製作|製造|出版|發行|撰寫|編寫|編著|創作|執導|主持|提出|命名|管理|營運|經營|"
    rf"主辦|統治|率領|領導|翻譯|"
    rf"作曲|作詞|繪製|演唱|飾演|開創|發起|推動|引進|編纂|擔任))"
)
_BODIES = (
    (re.compile(r"(?:公司|集團|企業|銀行|書局|出版社)$"), "哪一家公司"),
    (re.compile(r"(?:大學|學院|中學|學校)$"), "哪一所學校"),
    (
        re.compile(
            r"(?:政府|委員會|協會|學會|基金會|組織|機構|部|局|署|處|院|隊|團|會|所|中心|公所)$"
        ),
        "哪一個單位",
    ),
)
_PERSON = re.compile(
    rf"(?:{_ROLE})[{_HAN}]|[·‧・]|^[{_SURNAMES}][{_HAN}]{{1,2}}(?:[和與、及][{_HAN}]{{2,3}})?$"
)
_NOT_PERSON = re.compile(r"[國州省市縣族人軍]$|們|各|不同|自己|多個|許多|政")

_PLACE = re.compile(
    r"(?:位於|位在|坐落於|座落於|坐落在|設於|設在|葬於|定都於|首都是|首都為|首府是|首府為|省"
    r"會是|流入|注入)"
    r"(?P<place>[^，。；：！？、（(「《\d]{2,18})(?=[，。；]|$)"
)
_ORIGIN = re.compile(
    r"(?:發源於|發源自|出生於|生於|起源於|源自|原產於|原產於|遷至|遷到|流經)"
    rf"(?P<place>[{_HAN}·]{{2,12}}(?:國|洲|省|市|縣|州|島|山|山脈|地區|海|河|江|湖|谷|盆地|高"
    rf"原|半島|大陸|城|鎮|鄉|村|部))"
    r"(?=[，。；]|$)"
)
_WORK_NOUNS = (
    "小說|電影|影片|電視劇|動畫|漫畫|遊戲|歌曲|專輯|單曲|詩集|散文|著作|論文|戲劇|"
    "歌劇|小冊子|雜誌|報紙|期刊|字典|詞典|史書|專書|書籍|紀錄片|名著|畫作"
)
_WORK = re.compile(
    rf"(?P<noun>{_WORK_NOUNS})?《(?P<work>[^《》]{{2,20}})》(?P<after>一書|一文)?(?![、和與及]?《)"
)
_WRITES = re.compile(
    r"(?:著有|撰寫|寫成|寫下|編寫|編纂|完成|出版|發表|創作|拍攝|著作|所著|寫了|出版了|完成了|"
    r"繪製)的?$"
)
_BEFORE_NOUN = re.compile(r"(?:^|[的了以為於在將把演寫作版表行著，])$")
_WORK_KINDS = (
    (re.compile(r"條約$|協定$|公約$"), "哪一項條約"),
    (re.compile(r"法$|條例$|憲法$"), "哪一部法律"),
)

_CALLED = re.compile(
    r"(?:稱為|稱作|稱之為|叫做|叫作|叫|又稱|又名|也稱|亦稱|俗稱|簡稱|別名是?|命名為|名為|改名"
    r"為|改稱|更名為|學名是|學名為)(?:為|作|做)?+"
    rf"(?P<open>[「『《]?)(?P<term>[{_HAN}A-Za-z0-9·\- ]{{2,14}})(?P<close>[」』》]?)(?=[，。；]|$)"
)
_IS = re.compile(
    r"^(?P<subject>[^，。；：、（）「」《》\d]{2,14}?)(?P<verb>是指|是|就是|為)(?P<what>[^，"
    r"。；：？]{4,48})(?=[，。；]|$)"
)
_NOT_SUBJECT = re.compile(
    r"[的在有和與而並也因由於被把將都但只不以及就才還更常]|最[^小大]|^[這那該此其他她它每某各"
    r"]|目前|現在|主要|如果|可能|一般|傳統"
    r"|[上時來然須直先後前也已曾皆均亦即則]$"
)
_DEFINES = re.compile(
    r"^(?:一[種個座位類項條部款家間所支群套本份名]|指|[^在因由不]{0,30}(?:之一|的[^的]{1,12})$)"
)

_BECAUSE = re.compile(
    r"^(?:由於|因為|為了)(?P<cause>[^，。；]{4,30})，(?:因此|所以|因而|故|於是)?(?P<effect>[^"
    r"，。；]{6,34})(?=[，。；]|$)"
)
_BECAUSE_INSIDE = re.compile(
    r"(?<!是)(?:因為|由於|因(?!應|素|數|果|子|緣|地))(?P<cause>[^，。；「」而]{2,16})(?:而|，"
    r"因此|，所以)(?!且|是|言|後)"
)
_BECAUSE_AFTER = re.compile(
    r"(?:，|的(?:主要)?原因)?(?:主要)?是因為(?P<cause>[^，。；]{4,30})(?=[。；]|$)"
)

_CONNECTIVE = re.compile(
    r"^(?:此外|另外|因此|然而|不過|其實|事實上|後來|隨後|之後|同時|例如|據說|據估計|一般來說|"
    r"總體來說|如今|最後|最終|今日|近年來"
    r"|目前|相傳|根據統計|據統計|所以|而且|但是|但|而|於是)，?"
)
_LEANS = re.compile(
    r"(?:^|[，；])(?:他|她|它|牠|其|這|那|該|此|本|兩者|二者|雙方|前者|後者|以上|以下|上述|之"
    r"後|隨後|其後|當中|當時|同年|翌年|隔年"
    r"|次年|同時|並|且|也|亦|又|則|而|但|卻|仍|還|再|甚至|以及|或|不過|因而|從此|至此|例如|像"
    r"|如|尤其|包括|另)"
    r"|(?:他|她|它|牠)(?:們)?|該[^校隊地]|這[個些種座項次裡是]|那[個些種裡時]|此[一事時種書處"
    r"地前]|當時|同年|同[月日]|翌年|隔年|次年|前者|後者"
    r"|(?:^|[，；])(?:農曆)?[\d一二三四五六七八九十]{1,3}[月日]|^(?:[的之等了們]|指的是|即)|("
    r"?:^|，)(?:因|"
    r"若|當|雖)[^，]*(?:哪裡|什麼)$|的召開$|(?<![原"
    r"規準法守細否])則[於在"
    r"是為有由]|上述|前述|如下|如上|以下|下列|其中|另[一外]|其他|其餘|(?<![稱叫名])[亦也]|本["
    r"書文片劇集章節]|我們|您|你|(?:^|[，；]|什麼)(?:境內|當地|區內|城內|島上|校內)"
)
_UNFINISHED = re.compile(
    r"(?:^|，)(?:[^，]{0,24}(?:年|月|日|時|後|前|起|間|中|下|內|來|期|初|末|底|世紀|年代|時代)"
    r"|[^，]*(?:會|會議|典禮|儀式|途|過程)上|(?:根據|依據|依照|按照|隨著|伴隨著|除了|除|經"
    r"過|為了|由於|因為|當|雖然|儘管|如果|若|即"
    r"使)[^，]*"
    r"|[^，]*(?:之後|以後|之前|以前|之際|期間)"
    r"|[^，]*(?:證明|發現|認為|指出|主張|提出|表示|規定|宣布|顯示|相信|決定|記載|說|是))$"
)
_SUBJECTLESS = re.compile(
    r"^(?:哪一年|哪一天|什麼時候)?(?:由|被|改由|正式|開始|成立|設立|建成|完工|通車)"
)
_PAIRS = (
    ("「", "」"),
    ("『", "』"),
    ("（", "）"),
    ("(", ")"),
    ("《", "》"),
    ("“", "”"),
    ("〈", "〉"),
)
_ASIDE = re.compile(r"（[^（）]*）|\([^()]*\)")

_VERB = re.compile(
    r"[是為在於有被將把給讓使成開建立設發出進入獲得達完宣過改定任行始返加攻破占佔擊敗離住死亡"
    r"逝生產作做製造辦提創取收"
    r"購投訂簽結併遷搬升降增減交換推執拍演播選贏奪授頒修擴拆毀殺捕釋派率撤退登抵飛航啟用營停"
    r"關閉延繼續轉變裂散組編寫"
    r"著譯印錄唱畫讀學研測觀證認指示說稱叫列納屬約長高寬深重超突近居擁含共計僅通舉來到獻征滅"
    r"降叛訪會接受支持統治]"
)
_SHORT = 34
LONGEST_STEM = 62
"""Characters of the longest part of a sentence that becomes a question."""


def clozes(title: str, text: str) -> list[Cloze]:
    """All questions that the rules find in a text, in its order.

    Args:
        title: The text's subject; it scopes a question that does not name it.
        text: Traditional Chinese prose.
    """
    subject = plain_title(title)
    found: list[Cloze] = []
    for span in sentences(text):
        evidence = text[span.start : span.end].strip()
        if not 8 <= len(evidence) <= 160 or "？" in evidence or not _balanced(evidence):
            continue
        for rule in _RULES:
            for blank in rule(evidence, subject):
                question = _question(evidence, blank, subject)
                if question is not None:
                    found.append(Cloze(question, blank.kind, blank.answer, evidence))
    return found


def spans(sentence: str, title: str) -> list[tuple[str, str]]:
    """All (kind, span) of a sentence that a question could ask for, whether or not it leans."""
    subject = plain_title(title)
    return [(blank.kind, blank.answer) for rule in _RULES for blank in rule(sentence, subject)]


def plain_title(title: str) -> str:
    """A title without its disambiguation, 「腓力五世_(西班牙)」 to 「腓力五世」."""
    return re.sub(r"[_\s]*[（(].*?[)）]\s*$", "", title).replace("_", " ").strip()


def _question(sentence: str, blank: Blank, title: str) -> str | None:
    """The part of the sentence around the blank as a question; None when it cannot stand alone."""
    if blank.whole:
        stem = blank.wh
    else:
        start, end = _stem(sentence, blank)
        rest = sentence[start : blank.start] + sentence[blank.end : end]
        if not _VERB.search(_ASIDE.sub("", rest)):
            return None
        stem = sentence[start : blank.start] + blank.wh + sentence[blank.end : end]
    stem = _ASIDE.sub("", stem)
    stem = _CONNECTIVE.sub("", stem)
    stem = re.sub(r"^(?P<wh>哪一年|什麼時候|哪一天)，", r"\g<wh>", stem)
    stem = stem.strip("，。；：、！ \n")
    if _UNFINISHED.search(stem) and blank.wh not in ("哪裡", "什麼") and not blank.whole:
        return None
    if (
        "：" in stem
        or stem.count("，") > 3
        or _LEANS.search(stem)
        or not _balanced(stem)
        or not 7 <= len(stem) <= LONGEST_STEM
    ):
        return None
    if blank.answer in stem or "\n" in stem:
        return None
    if not _names(stem, title) or _SUBJECTLESS.match(stem):
        if title in blank.answer or blank.answer in title:
            return None
        stem = f"關於「{title}」，{stem}"
    return f"{stem}？"


def _stem(sentence: str, blank: Blank) -> tuple[int, int]:
    """From the sentence's start to the end of the first clause that has the blank and is whole."""
    cuts = [match.start() for match in re.finditer(r"[，；：。！]", sentence)] + [len(sentence)]
    ends = [cut for cut in cuts if cut >= blank.end and _balanced(sentence[:cut])]
    if len(sentence) <= _SHORT and blank.kind in ("time", "number"):
        return 0, len(sentence)
    for start, end in zip([0, *ends], ends, strict=False):
        final = sentence[end : end + 1] in ("。", "！", "")
        clause = sentence[max(start, blank.end if blank.kind == "time" else 0) : end]
        if final or not (_UNFINISHED.search(sentence[:end]) or _is_fragment(clause)):
            return 0, end
    return 0, len(sentence)


def _is_fragment(clause: str) -> bool:
    """Whether a clause seems to be a noun phrase or adverbial that waits for its verb."""
    if re.search(r"[是為有將被把使讓令成了]", clause):
        return False
    return not _VERB.search(re.sub(r"^[^，]*的|在|於", "", clause))


def _names(stem: str, title: str) -> bool:
    """Whether a question shares a pair of characters with the title, or the whole short title."""
    stem, title = fold(stem), fold(title)
    if len(title) < 2:
        return title in stem
    return any(title[i : i + 2] in stem for i in range(len(title) - 1))


def _balanced(text: str) -> bool:
    return all(text.count(left) == text.count(right) for left, right in _PAIRS)


def _dates(sentence: str, title: str) -> Iterator[Blank]:
    for match in _DATE.finditer(sentence):
        if not match["era"] and len(match["year"]) < 3:
            continue
        if not match["era"] and not match["year"].isdigit():
            continue
        if _inside_aside(sentence, match.start()):
            continue
        wh = "哪一天" if match["day"] else "什麼時候" if match["month"] else "哪一年"
        yield Blank(match.start(), match.end(), wh, "time", match[0])


def _numbers(sentence: str, title: str) -> Iterator[Blank]:
    for match in _NUMBER.finditer(sentence):
        value, unit = match["value"], match["unit"]
        chinese = value[0] in _NUMERAL
        if value in ("一", "1", "零", "〇", "百", "千", "萬", "億", "兩") and unit not in ("倍",):
            continue
        if (unit == "年" and (chinese or len(value) >= 3)) or _inside_aside(
            sentence, match.start()
        ):
            continue
        rest = sentence[match.end() :]
        if "之一" in rest[:6] or (unit in _SPANS and rest.startswith("後")):
            continue
        if chinese and unit in (
            "國",
            "度",
            "級",
            "元",
            "人",
            "部",
            "本",
            "家",
            "省",
            "州",
            "層",
            "字",
            "首",
            "天",
            "屆",
            "次",
        ):
            continue
        yield Blank(match.start(), match.end(), f"多少{unit}", "number", match[0])
    for match in _PERCENT.finditer(sentence):
        if not _inside_aside(sentence, match.start()):
            yield Blank(match.start(), match.end(), "百分之多少", "number", match["value"])
    for match in _ORDINAL.finditer(sentence):
        if not sentence[match.end() :].startswith("世"):
            yield Blank(match.start(), match.end(), f"第幾{match['unit']}", "number", match[0])


def _persons(sentence: str, title: str) -> Iterator[Blank]:
    for match in _ROLE_NAME.finditer(sentence):
        if not re.search(
            r"[的和與及等們之是有在於為以對也仍都還又則曾不經由透通過藉已早才竟遂皆均便即並]",
            match["name"],
        ) and not _NOT_ROLE.search(match["role"]):
            yield Blank(
                match.start(), match.end(), f"哪一位{match['role']}", "person", match["name"]
            )
    for match in _SURNAME_NAME.finditer(sentence):
        if not re.search(r"[的和與及等們之是有在於為年]", match["name"]):
            yield Blank(match.start("name"), match.end("name"), "誰", "person", match["name"])
    for match in _AGENT.finditer(sentence):
        name = match["name"].strip()
        wh = next((wh for body, wh in _BODIES if body.search(name)), None)
        if wh is None and _PERSON.search(name) and not _NOT_PERSON.search(name):
            wh = "誰"
        if wh is not None and "的" not in name:
            yield Blank(match.start("name"), match.end("name"), wh, "person", name)


def _places(sentence: str, title: str) -> Iterator[Blank]:
    for pattern in (_PLACE, _ORIGIN):
        for match in pattern.finditer(sentence):
            place = match["place"]
            loose = "劃歸" in place or (
                "的" in place and not re.search(r"[側部方面邊界處間內岸端區帶角旁麓緣濱]$", place)
            )
            if not loose and not re.search(r"[是有原]$", sentence[: match.start()]):
                yield Blank(match.start("place"), match.end("place"), "哪裡", "place", place)


def _works(sentence: str, title: str) -> Iterator[Blank]:
    if sentence.count("《") != 1:
        return
    for match in _WORK.finditer(sentence):
        wh = next((wh for kind, wh in _WORK_KINDS if kind.search(match["work"])), None)
        if wh is None and match["noun"] and _BEFORE_NOUN.search(sentence[: match.start()]):
            wh = f"哪一部{match['noun']}"
        if wh is None and (match["after"] or _WRITES.search(sentence[: match.start()])):
            wh = "哪一部作品"
        if wh is not None:
            yield Blank(match.start(), match.end(), wh, "work", f"《{match['work']}》")


def _terms(sentence: str, title: str) -> Iterator[Blank]:
    for match in _CALLED.finditer(sentence):
        opened, closed = match["open"], match["close"]
        if bool(opened) != bool(closed) or re.search(r"[或和與及]", match["term"]):
            continue
        if re.search(r"[的是在了]", match["term"]):
            continue
        yield Blank(match.start("open"), match.end("close"), "什麼", "term", match["term"])


def _definitions(sentence: str, title: str) -> Iterator[Blank]:
    match = (
        _IS.match(_ASIDE.sub("", sentence)) if sentence.startswith(title) else _IS.match(sentence)
    )
    if match is None or match["what"] not in sentence:
        return
    subject, what = match["subject"], match["what"]
    about = fold(subject) == fold(title)
    if not about and (_NOT_SUBJECT.search(subject) or match["verb"] == "為"):
        return
    if re.match(r"[在因由不否非很最了否誰]|什麼", what) or re.search(
        r"[的是為和與及在]$|[該此其]", what
    ):
        return
    if about or _DEFINES.match(what):
        yield Blank(0, 0, f"{subject}是什麼", "definition", what, whole=True)


def _causes(sentence: str, title: str) -> Iterator[Blank]:
    body = _CONNECTIVE.sub("", sentence)
    if match := _BECAUSE.match(body):
        effect = match["effect"]
        if not re.match(
            r"[為在使讓令被並從於以對把將可能會也不無而只]|[^，]{0,3}(?:時|後|前)$", effect
        ):
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)
    for match in _BECAUSE_INSIDE.finditer(sentence):
        if "，" not in sentence[: match.start()] and match.start() >= 2:
            yield Blank(match.start(), match.end(), "為什麼", "cause", match["cause"])
    if match := _BECAUSE_AFTER.search(body):
        effect = body[: match.start()]
        if "，" not in effect:
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)


def _inside_aside(sentence: str, position: int) -> bool:
    before = sentence[:position]
    return any(
        before.count(left) > before.count(right)
        for left, right in (("（", "）"), ("(", ")"), ("《", "》"))
    )


_RULES: tuple[Callable[[str, str], Iterator[Blank]], ...] = (
    _dates,
    _numbers,
    _persons,
    _places,
    _works,
    _terms,
    _definitions,
    _causes,
)
