"""Whether the prose of a reply is in the language asked for, formulas, code and names aside."""

import re

from kyara_kedro.text.fold import is_cjk
from kyara_kedro.text.script import language_of

_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\\\[.*?\\\]|\\\(.*?\\\)|\$\$.*?\$\$|\$[^$\n]*\$|\\[a-zA-Z]+"
    r"|https?://\S+|<[^<>\n]*>",
    re.DOTALL,
)
_ASIDE = re.compile(
    r"[(（][^()（）\u3400-\u9fff]*[)）]|[「『“\"《〈][^「」『』“”\"《》〈〉\u3400-\u9fff]*[」』”\"》〉]"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_ENGLISH = (
    "the of and to in is that for it with was on are be this by you as at from or an a were has "
    "have which not but they his their its can will"
)
_OTHER = (
    "de la el los las que un una en y con por le les des du est et dans ne pas der die das und ist "
    "nicht den mit von ein il che di per del em um uma het een van yang untuk dan"
)
_FUNCTION = frozenset([*_ENGLISH.split(), *_OTHER.split()])
_SEVERAL = 3
"""Function words of a foreign text that a name, such as Massachusetts Institute of Technology,
does not have."""
_TELLING = 24
"""Characters from which on a text without ideographs shows its language."""


def prose(text: str) -> str:
    """A text without code, formulas, markup, and Latin words in quotation marks or brackets."""
    return _ASIDE.sub(" ", _NO_PROSE.sub(" ", text))


def foreign_language(text: str, language: str) -> str | None:
    """The language of a text's prose when it is not the one wanted, or None.

    Names and terms in Latin letters do not make a Chinese reply foreign: an English one has several
    function words, and more of them than ideographs. A few words prove nothing.

    Args:
        text: The reply.
        language: BCP 47 tag of the language wanted: Chinese or English.
    """
    said = prose(text)
    found = language_of(said)
    if len(text) < _TELLING or found.startswith("zh") == (not language.startswith("en")):
        return None
    if language.startswith("en") or found == "ja":
        return found if found.startswith("zh") or found == "ja" else None
    words = _WORD.findall(said.casefold())
    ideographs = sum(map(is_cjk, said))
    functional = sum(word in _FUNCTION for word in words)
    others = sum(any(letter > "\u024f" for letter in word) for word in words if not is_cjk(word[0]))
    return found if max(functional, others) >= max(_SEVERAL, ideographs) else None
