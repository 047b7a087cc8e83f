"""The words in which system prompts state the constraints of :mod:`kyara_kedro.text.constraints`.

Three wordings of each kind in each language, each a whole sentence with the slot ``{value}`` or
``{quoted}`` where the kind takes a value. The values of the two Chinese scripts differ in script
only and stand in the same order.
"""

from collections.abc import Mapping

ByLanguage = Mapping[str, tuple[str, ...]]

WORDINGS: Mapping[str, ByLanguage] = {
    "bullets": {
        "zh-TW": (
            "回答一律條列，至少兩行，每一行都以「- 」開頭，不寫條列以外的文字。",
            "請只用項目符號作答：每行以「- 」起頭，兩行以上，前後不加其他句子。",
            "你的每則回覆都是一份清單，從第一行到最後一行都以「- 」開頭，不少於兩行。",
        ),
        "zh-CN": (
            "回答一律分条列出，至少两行，每一行都以“- ”开头，不写列表以外的文字。",
            "请只用项目符号作答：每行以“- ”打头，两行以上，前后不加其他句子。",
            "你的每个回答都是一份清单，从第一行到最后一行都以“- ”开头，不少于两行。",
        ),
        "en": (
            'Answer in bullet points only: two lines or more, each beginning with "- ".',
            (
                'Every reply is a list of at least two lines; each line starts with "- " and '
                "there is no other text."
            ),
            'Use nothing but bullets. All lines, at least two, open with "- ".',
        ),
    },
    "numbered": {
        "zh-TW": (
            "回答時逐行編號，從「1. 」開始依序往下，至少兩行，不寫編號以外的段落。",
            (
                "請用編號清單回覆，第一行以「1. 」開頭，第二行以「2. 」開頭，依此類推，"
                "每行都要有編號。"
            ),
            "你的回答是一份從 1. 開始依序編號的清單，不少於兩項，一項一行，前後沒有別的話。",
        ),
        "zh-CN": (
            "回答时逐行编号，从“1. ”开始依次往下，至少两行，不写编号以外的段落。",
            ("请用编号列表作答，第一行以“1. ”开头，第二行以“2. ”开头，依此类推，每行都要有编号。"),
            "你的回答是一份从 1. 开始依次编号的清单，不少于两项，一项一行，前后没有别的话。",
        ),
        "en": (
            (
                'Number every line of the answer in order, from "1. " on, with at least two '
                "lines and no other text."
            ),
            (
                'Reply with a numbered list: the first line begins with "1. ", the second with '
                '"2. ", and so on.'
            ),
            (
                "Each answer is a list of two or more items numbered 1. and onwards, one a "
                "line, and nothing else."
            ),
        ),
    },
    "one_sentence": {
        "zh-TW": (
            "每次只用一句話回答，以句號結尾，不分行。",
            "請把答案濃縮成一個完整的句子，句尾加上句號。",
            "不論問題多複雜，回覆都只有一句話，結尾是句號。",
        ),
        "zh-CN": (
            "每次只用一句话回答，以句号结尾，不分行。",
            "请把答案浓缩成一个完整的句子，句尾加上句号。",
            "不论问题多复杂，回答都只有一句话，结尾是句号。",
        ),
        "en": (
            "Answer in exactly one sentence that ends with a full stop.",
            "However complex the question, your reply is a single complete sentence.",
            "Put the whole answer into one sentence, without line breaks.",
        ),
    },
    "one_per_line": {
        "zh-TW": (
            "回答至少兩句，每一句話自成一行。",
            "請一句一行：寫完一句就換行，總共不少於兩行，中間不空行。",
            "你說的每句話都獨占一行，至少寫兩行。",
        ),
        "zh-CN": (
            "回答至少两句，每一句话自成一行。",
            "请一句一行：写完一句就换行，总共不少于两行，中间不空行。",
            "你说的每句话都独占一行，至少写两行。",
        ),
        "en": (
            "Write at least two sentences and put each one on a line of its own.",
            (
                "One sentence a line: break the line after every sentence, two lines or more, "
                "without blank lines."
            ),
            "Every sentence of yours has its own line, and there are at least two of them.",
        ),
    },
    "two_paragraphs": {
        "zh-TW": (
            "回答分成兩段，段落之間空一行。",
            "請寫正好兩個段落，中間以一個空行隔開。",
            "你的回覆由兩段組成：第一段先回答，空一行後，第二段補充。",
        ),
        "zh-CN": (
            "回答分成两段，段落之间空一行。",
            "请写正好两个段落，中间以一个空行隔开。",
            "你的回答由两段组成：第一段先回答，空一行后，第二段补充。",
        ),
        "en": (
            "Answer in two paragraphs with a blank line between them.",
            "Write exactly two paragraphs, separated by one empty line.",
            (
                "Your reply has two parts: a paragraph that answers and, after a blank line, "
                "one that adds to it."
            ),
        ),
    },
    "table": {
        "zh-TW": (
            "回答一律是兩欄的 Markdown 表格，欄名依序為{quoted}，表格以外不寫任何文字。",
            "請只輸出一個 Markdown 表格，只有{quoted}兩欄。",
            "所有內容都放進一個 Markdown 表格裡，表頭依序寫{quoted}，前後不加說明。",
        ),
        "zh-CN": (
            "回答一律是两列的 Markdown 表格，列名依次为{quoted}，表格以外不写任何文字。",
            "请只输出一个 Markdown 表格，只有{quoted}两列。",
            "所有内容都放进一个 Markdown 表格里，表头依次写{quoted}，前后不加说明。",
        ),
        "en": (
            ("Every answer is a Markdown table with the two columns {quoted}, and nothing else."),
            "Reply only with a two-column Markdown table whose header reads {quoted}.",
            (
                "Put everything into one Markdown table; its columns are {quoted} in this "
                "order, with no text around it."
            ),
        ),
    },
    "json": {
        "zh-TW": (
            "只輸出一個 JSON 物件，鍵為{quoted}，值是字串，物件以外不寫任何說明。",
            (
                "你的回覆會由程式讀取，所以必須是 JSON 物件，只有{quoted}這些鍵，值都是字串，"
                "前後不加說明。"
            ),
            "請以 JSON 物件作答，鍵依序是{quoted}，每個值都是一段文字。",
        ),
        "zh-CN": (
            "只输出一个 JSON 对象，键为{quoted}，值是字符串，对象以外不写任何说明。",
            (
                "你的回答会由程序读取，所以必须是 JSON 对象，只有{quoted}这些键，值都是字符串，"
                "前后不加说明。"
            ),
            "请以 JSON 对象作答，键依次是{quoted}，每个值都是一段文字。",
        ),
        "en": (
            (
                "Output one JSON object only, with the keys {quoted} and strings as values, "
                "and do not comment on it."
            ),
            (
                "A program reads your replies: each must be a JSON object that has just the "
                "keys {quoted}, all values strings, and no explanation around it."
            ),
            (
                "Answer as a JSON object. Its keys, in order, are {quoted}; each value is "
                "plain text."
            ),
        ),
    },
    "greeting": {
        "zh-TW": (
            "每次回覆都以{quoted}開頭。",
            "回答前先打招呼，第一句固定是{quoted}。",
            "請一律用{quoted}這句話作為回答的開場。",
        ),
        "zh-CN": (
            "每次回答都以{quoted}开头。",
            "回答前先打招呼，第一句固定是{quoted}。",
            "请一律用{quoted}这句话作为回答的开场。",
        ),
        "en": (
            "Begin every reply with {quoted}",
            "Greet the user first; your opening words are always {quoted}",
            "The first words of each answer have to be {quoted}",
        ),
    },
    "heading": {
        "zh-TW": (
            "回答的第一行是以「# 」開頭的標題，內文從下一行開始。",
            "請先寫一行 Markdown 一級標題（# 標題），再換行寫內文。",
            "每則回覆都要有標題：第一行用「# 」標示標題，其後才是正文。",
        ),
        "zh-CN": (
            "回答的第一行是以“# ”开头的标题，正文从下一行开始。",
            "请先写一行 Markdown 一级标题（# 标题），再换行写正文。",
            "每个回答都要有标题：第一行用“# ”标示标题，其后才是正文。",
        ),
        "en": (
            (
                'The first line of the answer is a title that begins with "# "; the text '
                "follows below it."
            ),
            (
                "Write a Markdown heading of the first level (# Title) first, then the text on "
                "new lines."
            ),
            ('Give every reply a title: a first line marked with "# ", and the body after it.'),
        ),
    },
    "title": {
        "zh-TW": (
            "回答的第一行是放在【】裡的標題，第二行起才是內容。",
            "請在最前面獨立一行寫出標題，並用【】括住，然後換行作答。",
            "每則回覆都先寫一行【標題】，再另起一行說明。",
        ),
        "zh-CN": (
            "回答的第一行是放在【】里的标题，第二行起才是内容。",
            "请在最前面单独一行写出标题，并用【】括住，然后换行作答。",
            "每个回答都先写一行【标题】，再另起一行说明。",
        ),
    },
    "closing": {
        "zh-TW": (
            "每次回覆的最後一句都是{quoted}。",
            "請固定以{quoted}這句話結束回答。",
            "說完內容後，結尾一律寫上{quoted}，後面不再加字。",
        ),
        "zh-CN": (
            "每次回答的最后一句都是{quoted}。",
            "请固定以{quoted}这句话结束回答。",
            "说完内容后，结尾一律写上{quoted}，后面不再加字。",
        ),
        "en": (
            "The last sentence of every reply is {quoted}",
            "Always end your answer with the words {quoted}",
            "When you have said everything, finish with {quoted} Add nothing after it.",
        ),
    },
    "at_most": {
        "zh-TW": (
            "回答連同標點不超過 {value} 個字。",
            "每則回覆最多 {value} 字，標點與空白也算在內。",
            "請把篇幅控制在 {value} 字以內（標點也算）。",
        ),
        "zh-CN": (
            "回答连同标点不超过 {value} 个字。",
            "每个回答最多 {value} 字，标点和空格也算在内。",
            "请把篇幅控制在 {value} 字以内（标点也算）。",
        ),
        "en": (
            ("Keep the answer to {value} characters at most, spaces and punctuation included."),
            "No reply may be longer than {value} characters, counting spaces and signs.",
            "Your answers have a limit of {value} characters, blanks included.",
        ),
    },
    "bold": {
        "zh-TW": (
            "把回答中最關鍵的一處用粗體（**）標出來，只標一處。",
            "請以 **粗體** 標示唯一的重點，其餘文字不加粗。",
            "每則回覆裡正好有一個詞語或短句用兩個星號（**）包起來，表示重點。",
        ),
        "zh-CN": (
            "把回答中最关键的一处用粗体（**）标出来，只标一处。",
            "请以 **粗体** 标示唯一的重点，其余文字不加粗。",
            "每个回答里正好有一个词语或短句用两个星号（**）包起来，表示重点。",
        ),
        "en": (
            "Set the one key point of the answer in bold (**), and nothing else.",
            "Mark exactly one word or phrase, the most important one, as **bold**.",
            ("In each reply a single phrase stands between double asterisks (**): the key point."),
        ),
    },
    "no_letters": {
        "zh-TW": (
            "回答裡不能出現任何英文字母。",
            "請全部用中文書寫，連縮寫和專有名詞也不用英文字母。",
            "一個英文字母都不要寫；遇到外文名稱，請寫它的中文譯名。",
        ),
        "zh-CN": (
            "回答里不能出现任何英文字母。",
            "请全部用中文书写，连缩写和专有名词也不用英文字母。",
            "一个英文字母都不要写；遇到外文名称，请写它的中文译名。",
        ),
    },
}
"""By kind and language; a kind is missing in a language where it makes no sense."""

VALUES: Mapping[str, ByLanguage] = {
    "table": {
        "zh-TW": (
            "編號|內容",
            "序號|說明",
            "項次|重點",
        ),
        "zh-CN": (
            "编号|内容",
            "序号|说明",
            "项次|重点",
        ),
        "en": (
            "No.|Content",
            "Item|Detail",
            "#|Point",
        ),
    },
    "json": {
        "zh-TW": (
            "回答",
            "回答|補充",
        ),
        "zh-CN": (
            "回答",
            "回答|补充",
        ),
        "en": (
            "answer",
            "reply|details",
        ),
    },
    "greeting": {
        "zh-TW": (
            "您好！",
            "感謝您的提問。",
            "很高興為您說明。",
            "各位讀者好，",
        ),
        "zh-CN": (
            "您好！",
            "感谢您的提问。",
            "很高兴为您说明。",
            "各位读者好，",
        ),
        "en": (
            "Hello!",
            "Thank you for your question.",
            "Good to hear from you.",
            "Dear reader,",
        ),
    },
    "closing": {
        "zh-TW": (
            "希望對您有幫助。",
            "以上供您參考。",
            "還有疑問，歡迎再問。",
        ),
        "zh-CN": (
            "希望对您有帮助。",
            "以上供您参考。",
            "还有疑问，欢迎再问。",
        ),
        "en": (
            "I hope this helps.",
            "That is all I can tell.",
            "Feel free to ask more.",
        ),
    },
    "at_most": {
        "zh-TW": (
            "80",
            "100",
            "150",
            "200",
        ),
        "zh-CN": (
            "80",
            "100",
            "150",
            "200",
        ),
        "en": (
            "200",
            "300",
            "400",
            "500",
        ),
    },
}
"""Values of the kinds that take one; several parts are divided by ``|``."""
