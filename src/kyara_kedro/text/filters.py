"""What is not worth learning from: documents that are no prose, and lines that are no content.

The quality rules are those of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1) and
FineWeb (Penedo et al. 2024, arXiv:2406.17557), measured in characters: Chinese has no blanks
between words, so a word n-gram becomes a run of characters of about the same length.
"""

import re
import unicodedata
from functools import cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from kyara_kedro.options import Options
from kyara_kedro.text import script
from kyara_kedro.text.chunk import Span
from kyara_kedro.text.fold import fold, is_cjk

Share = Annotated[float, Field(ge=0, le=1)]

_BLANK, _SIGN, _DIGIT, _IDEOGRAPH, _RARE, _LETTER, _LATIN1_SIGN, _LATIN1_LETTER, _LOST = range(9)
"""Kinds of characters; an ideograph is rare outside the common sets of Taiwan and the mainland."""

_RUN, _SHORT_RUN, _LEAST_RUNS = 10, 4, 4
_LEAST_LINES, _LINK_CHARS = 8, 30
_MIX = np.uint32(0x9E3779B1)
_CLOSED = re.compile(r"[。！？；…：.!?;:」』”’）》〉】)\]\"'`|]$")
# UTF-8 read as Latin-1 or Windows-1252, and U+FFFD read as GBK.
_MISREAD = re.compile(
    "[\u00c2-\u00f4][\u00a1-\u00bf]|[\u00c2\u00c3\u00e2][€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œ]|锟斤?拷?|斤拷"
)
_TOUCHING = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH")

_NO_SCRIPTS = ("MODIFIER", "MATHEMATICAL", "SCRIPT", "DOUBLE-STRUCK", "BLACK-LETTER", "MICRO")

_LINE = re.compile(r"[^\n]+\n?")
_LINE_CHARS, _SHORT_LINE_CHARS = 200, 60
_LONG_LINE = re.compile(
    "[Cc]ookie|版[權权]|著作[權权]|[Cc]opyright|[Rr]eserved|[條条]目|章[節节]|百科|[轉转][載载]"
)
_MENU = (
    "回?首頁|主頁|上一頁|下一頁|看?更多|目錄|選單|搜尋|登入|登出|註冊|會員(中心|登入)|關閉|列印|轉寄"
    "|網站(導覽|地圖)|(關於|聯[絡繫])我們|隱私權?(政策|聲明|條款)?|(服務|使用)條款|免責聲明"
    "|常見問題|客服中心|廣告(刊登|合作)|臉書|噗浪|微博|微信"
    "|facebook|fb|line|twitter|x|instagram|ig|youtube|plurk|threads|telegram|email|rss|share|tweet"
    "|home|menu|search|log ?in|log ?out|sign ?(in|up)|register|about( us)?|contact( us)?|print"
    "|privacy( policy)?|terms( of (use|service))?|site ?map|faq|help|next|prev(ious)?|more"
)
_BETWEEN = r"\s*[|/·•>»›、,\-–—\s]\s*"
_NO_CONTENT = (
    # Navigation.
    rf"(?:{_MENU})(?:{_BETWEEN}(?:{_MENU})){{2,}}",
    r"(?:首頁|home)(?:\s*[>»›/]\s*[^>»›/。，]{1,20}){1,6}",
    r"[«<←‹↑▲]*\s*返?回(?:到|至)?(?:首頁|頂部|頂端|頁首|上方|上一頁|網站首頁)\s*[»>→›]*",
    r"[«<←‹]*\s*[上下]一[篇頁則章](?:文章)?(?:\s*[|/／、]?\s*[上下]一[篇頁則章](?:文章)?)?\s*[»>→›]*",
    r"[上下]一[篇則](?:文章|新聞)?\s*[:：].{0,60}",
    r"(?:閱讀|看|查看|瀏覽)(?:更多|全文|原文)\s*[»>→›…．.]*|繼續閱讀.{0,3}|展開全文",
    r"(?:[,，、:\s]*[跳移][到至]:?(?:主要)?(?:內容|導航|導覽|搜尋))+(?:[,，、\s]*搜尋)?",
    r"(?:back to top|skip to (?:main )?content|(?:read|show|load) more|continue reading)\W*",
    # Sharing and subscribing.
    r"(?:分享|轉[發貼])(?:到|至|此文|本文|這篇|文章).{0,12}:?|分享:?",
    r"(?:share|tweet|pin) (?:this|on|via|to)"
    r"(?: (?:article|post|page|story|facebook|twitter|x|linkedin|email|whatsapp|line))*\W*",
    r"(?:follow|like|find) us(?: on)?.{0,40}|追蹤我們.{0,20}",
    r"按讚粉絲(?:團|專頁).{0,10}|加入好友.{0,10}",
    r"(?:請?點[此擊選我]|按此|立即|馬上|免費|歡迎)(?:這裡|此處|連結)?(?:免費)?"
    r"(?:訂閱|下載app|追蹤|註冊|加入會員).{0,20}",
    r"訂閱(?:電子報|我們|頻道|本站|最新消息)?.{0,3}",
    r"(?:subscribe|sign up)(?: now| to| for)?(?: our)?(?: free)?(?: \w+)?(?: newsletter)?\W*",
    # Rights and cookies.
    r"(?:copyright|©|\(c\)|(?:版權|著作權)所有\s*[©:\d(])[^。]{0,80}",
    r"[^。,;]{0,40}(?:版權所有|著作權所有|翻印必究|all rights reserved)"
    r"(?:[,.\s]*(?:翻印必究|未經|非經|不得|請勿|禁止)[^。]{0,30})?[.。!]?",
    r"[未非]經[^。]{0,16}(?:授權|許可|同意)[^。]{0,12}(?:轉載|使用|重製|引用|複製)[^。]{0,10}[。.]?",
    r"(?:轉載|引用)請(?:註明|附上)[^。]{0,20}[。.]?",
    r"(?:本(?:網站|站)|我們)會?(?:使用|採用|利用)[^。]{0,10}cookies?.*",
    r"(?:接受|同意|拒絕|管理)(?:所有|全部)?\s*cookies?(?:設定)?",
    r"(?:we|this (?:web)?site|our (?:web)?site) uses? cookies.*",
    r"(?:accept|reject|manage)(?: all)? cookies|cookies? (?:policy|settings|preferences|notice)",
    # Bylines, dates and counters.
    r"[(\[]?(?:責任編輯|責編|核稿編輯|執行編輯|首圖來源|圖片來源|照片來源|推薦閱讀"
    r"|延伸閱讀|相關(?:文章|新聞|閱讀|連結|報導)|熱門(?:文章|新聞))\s*:.{0,80}",
    r"[(\[【〔]?(?:記者|特派員|編譯)[^。,\s]{2,8}\s*/\s*(?:綜合|[^。,\s]{2,6})報導[)\]】〕]?",
    r"(?:發[佈布表]|刊登|更新|最後更新|修訂)(?:於|日期|時間)?\s*:\s*[\d\s/:.\-年月日時分]{6,30}",
    r"(?:瀏覽|點閱|閱讀|觀看)(?:次數|人次|人數|數|率)?\s*:?\s*[\d,.]+\s*[次人]?",
    r"[\d,]+\s*[則條個]?\s*(?:留言|評論|回應|comments?)",
    r"(?:發表|留下|撰寫)(?:您的)?(?:留言|評論|回應)|leave a (?:comment|reply)",
    # Page numbers.
    r"[-–—~]?\s*第\s*\d{1,4}\s*頁(?:\s*[,/]?\s*共\s*\d{1,4}\s*頁)?\s*[-–—~]?",
    r"[-–—]\s*\d{1,4}\s*[-–—]|page\s+\d{1,4}(?:\s*(?:of|/)\s*\d{1,4})?",
    # Wikipedia.
    r"維基百科,\s*自由的?百科全書|出自維基百科.{0,20}",
    r"本頁面最後(?:修訂|編輯)於.*|本站的全部(?:文字|文本)在.*",
    r"[本此](?:條目|章節|文章|段落|列表|頁面)"
    r"(?:需要|可能|缺少|沒有|未|存在|包含|過於|翻譯|引用|之|的|不符|有|是一篇|屬於)[^。]{0,50}"
    r"(?:來源|維護|擴[充展]|改善|改進|更新|中立|清理|查證|核實|討論頁|翻譯品質|小作品|參考文獻|品質|歧義"
    r"|格式|原創研究)[^。]{0,40}[。.]?.{0,60}",
    r"[您你]可以[^。]{0,16}(?:幫助|協助|編輯|擴充|改善)[^。]{0,30}(?:維基百科|條目|章節)[^。]{0,10}[。.]?",
    r"\(?(?:重定向|重新導向)自.{1,30}|\[\[(?:category|分類|file|檔案|image):.*\]\]",
)
_BOILERPLATE = re.compile("|".join(f"(?:{fold(pattern)})" for pattern in _NO_CONTENT))
_EDIT = re.compile(r"[ \t]*[\[［][ \t]*(?:編輯|编辑|edit)(?:[ \t]*\|[^\]\n]{0,12})?[ \t]*[\]］]")
_TAIL = re.compile(
    fold(
        r"(#{1,6}\s*|=={1,4}\s*)?(?:參考(?:文獻|資料|來源|書目)|外部(?:連結|鏈接)|參見|相關條目"
        r"|延伸閱讀|腳註|注腳|references|external links|see also|further reading|bibliography)"
        r"\s*(?:=={1,4}|:)?"
    )
)
_HEADING = re.compile(r"#{1,6}\s|=={1,4}\s*\S")
_REFERENCE = re.compile(
    r"[\^*•·↑\-–\[［]|\d{1,3}[.、)\]]|.*(?:https?://|www\.|isbn|doi[ :]|issn|pp?\. ?\d)"
    r"|.*[(（,，. ](?:19|20)\d\d",
    re.IGNORECASE,
)


class FilterOptions(Options):
    """Bounds of a document that is kept; None switches a rule off.

    Characters are those that are not blank.

    Attributes:
        min_chars: Fewest characters.
        max_chars: Most characters.
        distinct_chars: Fewest different characters; a text of less than three times as many needs
            a third of its length.
        misread_share: Most of the characters that a wrong decoding left: U+FFFD, UTF-8 read as
            Latin-1 ("ä¸­æ–‡"), U+FFFD read as GBK ("锟斤拷").
        latin1_share: Most of the characters that are Latin-1's beyond ASCII (Big5 or GBK read as
            Latin-1).
        rare_share: Most of the characters that are rare ideographs (UTF-8 or Big5 read as GBK).
        symbol_share: Most of the characters that are neither letters nor digits.
        digit_share: Most of the characters that are digits.
        letter_share: Least of the characters that are letters or ideographs.
        script_change_share: Most changes of script between touching letters, by letter; Chinese,
            Japanese and Latin letters may touch.
        repeated_line_share: Most of the characters that stand in lines that occurred before.
        repeated_run_share: Most of the characters that stand in runs of 10 that occurred before.
        frequent_run_share: Most of the characters that the most frequent run of 4 makes up.
        open_line_share: Most of the lines that end without a sentence end, of a text of at least 8
            lines of 30 characters or less on average: a list of links.
    """

    min_chars: PositiveInt | None = 20
    max_chars: PositiveInt | None = 2_000_000
    distinct_chars: PositiveInt | None = 15
    misread_share: Share | None = 0.01
    latin1_share: Share | None = 0.3
    rare_share: Share | None = 0.3
    symbol_share: Share | None = 0.4
    digit_share: Share | None = 0.3
    letter_share: Share | None = 0.5
    script_change_share: Share | None = 0.05
    repeated_line_share: Share | None = 0.3
    repeated_run_share: Share | None = 0.4
    frequent_run_share: Share | None = 0.25
    open_line_share: Share | None = 0.9


def quality_fault(text: str, options: FilterOptions) -> tuple[str, str] | None:
    """Say why a document is not worth learning from.

    Returns:
        The first rule that it breaks, as a reason, with the measured value and the bound as detail;
        None for a good document.
    """
    seen = _Profile(text)
    if options.min_chars is not None and seen.size < options.min_chars:
        return "too_short", f"{seen.size} characters, at least {options.min_chars} wanted"
    if options.max_chars is not None and seen.size > options.max_chars:
        return "too_long", f"{seen.size} characters, at most {options.max_chars} allowed"
    if not seen.size:
        return None
    if options.distinct_chars is not None:
        least = min(options.distinct_chars, seen.size // 3)
        if (distinct := seen.distinct(least)) < least:
            return "few_distinct_chars", f"{distinct} different ones, at least {least} wanted"
    letters = options.letter_share
    for reason, share, bound in (
        ("mojibake", seen.misread, options.misread_share),
        ("mojibake", seen.latin1, options.latin1_share),
        ("rare_ideographs", seen.rare, options.rare_share),
        ("many_symbols", seen.symbols, options.symbol_share),
        ("many_digits", seen.digits, options.digit_share),
        ("few_letters", seen.no_letters, None if letters is None else 1 - letters),
        ("mixed_scripts", seen.script_changes, options.script_change_share),
        ("repeated_lines", seen.repeated_lines, options.repeated_line_share),
        ("repeated_runs", seen.repeated_runs, options.repeated_run_share),
        ("frequent_run", seen.frequent_run, options.frequent_run_share),
        ("open_lines", seen.open_lines, options.open_line_share),
    ):
        if bound is not None and (value := share()) > bound:
            return reason, f"a share of {value:.3f}, at most {bound:g} allowed"
    return None


def boilerplate(text: str) -> list[Span]:
    """Find what is no content: whole lines, each with its line feed, and Wikipedia's [編輯].

    Navigation, sharing, cookie and copyright notices, bylines, counters, page numbers, the
    maintenance notices of Wikipedia, and its closing lists of references and links. A line is found
    only when all of it is such a thing, so that a sentence that speaks of one is not.
    """
    found: list[Span] = []
    tail = ""
    edited = any(word in text for word in ("編輯", "编辑", "edit"))
    for line in _LINE.finditer(text):
        bare = (_EDIT.sub("", line[0]) if edited else line[0]).strip()
        said = fold(bare) if _is_short(bare) else ""
        if (heading := _TAIL.fullmatch(said)) and line.start():
            tail = heading[1] or "unmarked"
        elif tail and _ends(tail, bare):
            tail = ""
        if tail or _BOILERPLATE.fullmatch(said):
            found.append(Span(*line.span()))
        elif edited:
            found += [Span(*mark.span()) for mark in _EDIT.finditer(text, *line.span())]
    return found


def _is_short(line: str) -> bool:
    """Whether a line is short enough to be no content, or says what long notices say."""
    return len(line) <= _SHORT_LINE_CHARS or (
        len(line) <= _LINE_CHARS and bool(_LONG_LINE.search(line))
    )


def _ends(tail: str, line: str) -> bool:
    """Whether a line ends the list of references that began with a heading marked so."""
    if _HEADING.match(line):
        return True
    if not line or _REFERENCE.match(line):
        return False
    return tail == "unmarked" or line.endswith("。")


class _Profile:
    """What the rules measure of a text; every share is in [0, 1], of the characters not blank."""

    def __init__(self, text: str) -> None:
        self.text = text
        points = script.code_points(text)
        kinds = _kinds()[points]
        self.counts: list[int] = np.bincount(kinds, minlength=_LOST + 1).tolist()
        self.size: int = len(text) - self.counts[_BLANK]
        self.points = points[kinds != _BLANK]
        self.letters: int = sum(
            self.counts[kind] for kind in (_IDEOGRAPH, _RARE, _LETTER, _LATIN1_LETTER)
        )

    def distinct(self, enough: int) -> int:
        """Different characters, or some number above `enough`."""
        buckets = int(np.count_nonzero(np.bincount(self.points & 0xFFF)))
        return buckets if buckets >= enough else len(np.unique(self.points))

    def misread(self) -> float:
        """Characters that show a wrong decoding by themselves."""
        wrong = self.counts[_LOST]
        if self.counts[_LATIN1_LETTER] or "斤" in self.text:
            wrong += sum(len(match[0]) for match in _MISREAD.finditer(self.text))
        return wrong / self.size

    def latin1(self) -> float:
        """Characters of Latin-1 beyond ASCII."""
        return (self.counts[_LATIN1_SIGN] + self.counts[_LATIN1_LETTER]) / self.size

    def rare(self) -> float:
        """Rare ideographs."""
        return self.counts[_RARE] / self.size

    def symbols(self) -> float:
        """Characters that are neither letters nor digits."""
        return (self.size - self.letters - self.counts[_DIGIT]) / self.size

    def digits(self) -> float:
        """Digits."""
        return self.counts[_DIGIT] / self.size

    def no_letters(self) -> float:
        """Characters that are no letters."""
        return 1 - self.letters / self.size

    def script_changes(self) -> float:
        """Changes of script between touching letters, by letter."""
        scripts = _scripts()[script.code_points(self.text)]
        changes = (scripts[1:] != scripts[:-1]) & (scripts[1:] != 0) & (scripts[:-1] != 0)
        return int(np.count_nonzero(changes)) / max(1, self.letters)

    def repeated_lines(self) -> float:
        """Characters in lines that occurred before."""
        lines = [line.strip() for line in self.text.split("\n")]
        before: set[str] = set()
        repeated = 0
        for line in lines:
            repeated += len(line) if line in before else 0
            before.add(line)
        return repeated / max(1, sum(map(len, lines)))

    def repeated_runs(self) -> float:
        """Characters in runs of 10 that occurred before."""
        if self.size <= _RUN:
            return 0.0
        runs = _hashes(self.points, _RUN)
        slots = runs >> np.uint32(32 - max(8, (4 * len(runs)).bit_length()))
        places = np.arange(len(runs), dtype=np.int32)
        first = np.empty(int(slots.max()) + 1, dtype=np.int32)
        first[slots[::-1]] = places[::-1]
        earlier = first[slots]
        repeated = (earlier != places) & (runs[earlier] == runs)
        if not repeated.any():
            return 0.0
        covered = np.zeros(self.size + 1, dtype=np.int32)
        covered[: len(runs)] += repeated
        covered[_RUN : _RUN + len(runs)] -= repeated
        return int(np.count_nonzero(np.cumsum(covered))) / self.size

    def frequent_run(self) -> float:
        """Characters that the most frequent run of 4 makes up, if it occurs four times."""
        if self.size <= _SHORT_RUN:
            return 0.0
        runs = _hashes(self.points, _SHORT_RUN)
        slots = runs >> np.uint32(32 - min(16, max(8, (2 * len(runs)).bit_length())))
        counts = np.bincount(slots)
        fullest = runs[slots == counts.argmax()]
        count = int(np.unique(fullest, return_counts=True)[1].max())
        return min(1.0, _SHORT_RUN * count / self.size) if count >= _LEAST_RUNS else 0.0

    def open_lines(self) -> float:
        """Lines without a sentence end, if there are some and they are short."""
        lines = [line for line in map(str.strip, self.text.split("\n")) if line]
        if len(lines) < _LEAST_LINES or self.size > _LINK_CHARS * len(lines):
            return 0.0
        return sum(not _CLOSED.search(line) for line in lines) / len(lines)


def _hashes(points: NDArray[np.uint32], length: int) -> NDArray[np.uint32]:
    """A hash of every run of an even number of characters, shape [len(points) - length + 1]."""
    pairs = points[:-1] * _MIX
    pairs += points[1:]
    pairs ^= pairs >> np.uint32(15)
    count = len(points) - length + 1
    runs = pairs[:count].copy()
    for start in range(2, length, 2):
        runs *= _MIX
        runs += pairs[start : start + count]
    runs ^= runs >> np.uint32(15)
    return runs * _MIX


@cache
def _kinds() -> NDArray[np.uint8]:
    """Kind of a character by its code point, shape [0x110000]."""
    by_class = np.full(script.SIMPLIFIED + 1, _SIGN, dtype=np.uint8)
    by_class[script.DIGIT] = _DIGIT
    by_class[[script.LATIN, script.ACCENTED, script.KANA, script.LETTER]] = _LETTER
    by_class[[script.SHARED, script.TRADITIONAL, script.SIMPLIFIED]] = _RARE
    table = by_class[script.class_table()]
    table[[point for point in range(0x3001) if chr(point).isspace()]] = _BLANK
    table[[ord(letter) for letter in _common_ideographs()]] = _IDEOGRAPH
    table[0x80:0x100] = np.where(table[0x80:0x100] == _LETTER, _LATIN1_LETTER, _LATIN1_SIGN)
    table[0xB7] = _SIGN  # the middle dot of names in Chinese
    table[0xFFFD] = _LOST
    return table


def _common_ideographs() -> str:
    """Level 1 of Big5 and of GB 2312."""
    big5 = bytes(
        byte
        for lead in range(0xA4, 0xC7)
        for trail in (*range(0x40, 0x7F), *range(0xA1, 0xFF))
        for byte in (lead, trail)
    )
    gb = bytes(
        byte for lead in range(0xB0, 0xD8) for trail in range(0xA1, 0xFF) for byte in (lead, trail)
    )
    letters = big5.decode("big5", "ignore") + gb.decode("gb2312", "ignore")
    return "".join(letter for letter in letters if is_cjk(letter))


@cache
def _scripts() -> NDArray[np.uint8]:
    """Number of a letter's script by its code point, 0 for other characters; shape [0x110000]."""
    table = np.zeros(0x110000, dtype=np.uint8)
    numbers = dict.fromkeys(_TOUCHING, 1)
    for point in range(0x20000):
        if chr(point).isalpha():
            name = unicodedata.name(chr(point), "CJK").split(maxsplit=1)[0]
            if name not in _NO_SCRIPTS:
                table[point] = numbers.setdefault(name, len(numbers))
    table[0x20000:0x30000] = 1
    return table
