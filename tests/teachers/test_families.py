import pytest

from kyara_kedro.teachers.families import family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-2024-08-06", "openai"),
        ("chatgpt-3.5-0513", "openai"),
        ("o3-mini", "openai"),
        ("openai/gpt-oss-120b", "openai"),
        ("claude-3-5-sonnet-20240620", "anthropic"),
        ("gemini-1.5-flash", "google"),
        ("google/gemma-2-2b-it", "google"),
        ("Qwen/Qwen2.5-72B-Instruct", "alibaba"),
        ("Qwen2-72B-Instruct", "alibaba"),
        ("deepseek-chat", "deepseek"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mistral"),
        ("yi-large", "01-ai"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta"),
        ("taide/Llama-3.1-TAIDE-LX-8B-Chat", "meta"),
        ("/models/gemma-2-2b-it/", "google"),
        ("phi-4", "microsoft"),
        ("House-Model-7B", "house-model-7b"),
        ("embedded", "embedded"),
        ("sophia", "sophia"),
        ("foo1", "foo1"),
    ],
)
def test_a_family_is_guessed_where_a_name_is_plain(model: str, family: str) -> None:
    assert family_of(model) == family
