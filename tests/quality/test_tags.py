import polars as pl

from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.quality.tags import (
    GROUNDED,
    TAGGER,
    Request,
    cleaned,
    joined,
    requests_of,
    tag_by_replies,
    tag_by_rules,
)
from kyara_kedro.records import RAW_TAGS, TAG_EXAMPLE


def grounded_prompt() -> str:
    documents = [{"passage_id": "id_1a2b3c4d", "title": "憲法", "text": "法院依法律審判。"}]
    return (
        PromptLibrary().render_rag(documents, "玉山有多少公尺？", "zh-TW").messages[-1]["content"]
    )


def test_requests_are_what_users_say_without_their_documents(corpus):
    one, two = requests_of(
        corpus((grounded_prompt(), "法律。"), ("翻譯這句", "好的法律", "謝謝", "好"))
    )
    assert one == Request("0000", ["玉山有多少公尺？"], True)
    assert two == Request("0001", ["翻譯這句", "謝謝"], False)
    assert requests_of(corpus()) == []


def test_rules_say_who_tagged_and_why(corpus):
    table = corpus((grounded_prompt(), "好。"), ("請翻譯這句", "好"), ("嗯", "好"))
    raw, examples = tag_by_rules(requests_of(table))
    RAW_TAGS.validate(raw)
    assert raw["id"].to_list() == ["0000", "0001", "0002"]
    assert raw["raw_tags"].to_list() == [[GROUNDED, "數量查詢"], ["翻譯"], ["一般任務"]]
    assert set(raw["tagger"]) == {TAGGER}
    said = dict(TAG_EXAMPLE.validate(examples).select("tag", "explanation").iter_rows())
    assert said == {"數量查詢": "「多少」", "翻譯": "「翻譯」", "一般任務": ""}
    assert tag_by_rules([]).raw.height == 0


def test_a_sign_beside_a_word_is_no_trouble():
    raw, examples = tag_by_rules([Request("a", ["❶SQL"], False)])
    assert raw["raw_tags"].to_list() == [["程式設計"]]
    assert examples["explanation"].to_list() == [""]


def test_replies_keep_their_tags_and_one_example_of_each():
    replies = [
        (Request("b", ["x"], True), "m", {"詩": "later", "夜": ""}),
        (Request("a", ["y"], False), "n", {"詩": "first"}),
    ]
    raw, examples = tag_by_replies(replies)
    assert raw.rows() == [("b", [GROUNDED, "詩", "夜"], "m", None), ("a", ["詩"], "n", None)]
    assert examples.select("tag", "explanation", "conversation_id").sort("tag").rows() == [
        ("夜", "", "b"),
        ("詩", "first", "a"),
    ]


def test_a_tag_cannot_become_a_formula_or_break_a_line():
    found = cleaned([("=HYPERLINK(1)", "+1\n2"), ("  寫\n詩 ", "a"), ("寫 詩", "b"), ("@-", "c")])
    assert found == {"HYPERLINK(1)": "1 2", "寫 詩": "a"}


def test_parts_are_joined_with_the_first_example_of_a_tag(corpus):
    late, early = (
        tag_by_rules([Request(name, [text], False)])
        for name, text in (("b", "翻译"), ("a", "翻譯"))
    )
    raw, examples = joined([late, early])
    assert raw["id"].to_list() == ["b", "a"]
    assert examples.select("explanation", "conversation_id").rows() == [("「翻譯」", "a")]
    assert isinstance(joined([]).raw, pl.DataFrame)
