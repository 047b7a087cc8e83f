"""The parameters of each pipeline: typed, and strict about unknown keys and impossible values."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, SecretStr, model_validator

from kyara_kedro.evaluation.gate import GateOptions
from kyara_kedro.evaluation.scores import StatisticsOptions
from kyara_kedro.options import Options
from kyara_kedro.quality.selection import SelectionOptions
from kyara_kedro.quality.tag_normalisation import NormalisationOptions
from kyara_kedro.records import Language, Operation
from kyara_kedro.similarity.contamination import ContaminationOptions
from kyara_kedro.similarity.lexical import LexicalOptions
from kyara_kedro.training.options import (
    REFINE,
    DPOOptions,
    EmbeddedModelOptions,
    GenerationOptions,
    SFTOptions,
)

Share = Annotated[float, Field(ge=0, le=1)]
Style = Literal["detailed", "brief"]
WrittenLanguage = Literal["zh-Hant-TW", "zh-Hans-CN", "zh", "en"]
"""Languages that there are prompts in."""


class IngestParams(Options):
    """How raw files become records.

    Attributes:
        licence: Licence of rows that name none.
        simplified: What happens to documents in Simplified Chinese.
        min_chars: Shortest document.
        passage_chars: Longest passage.
        overlap_sentences: Sentences that a passage repeats of the one before.
        salt: Secret that passage ids are made with, so that the author of a document cannot know
            them; without one they follow from the documents alone.
    """

    licence: str = "unknown"
    simplified: Literal["convert", "keep", "drop"] = "convert"
    min_chars: PositiveInt = 40
    passage_chars: PositiveInt = 400
    overlap_sentences: NonNegativeInt = 1
    salt: SecretStr = SecretStr("")


class SynthesizeParams(Options):
    """What is written from documents and personas, and how much of it.

    Attributes:
        languages: Languages that conversations are written in.
        questions_per_passage: Most root questions of a passage.
        operations: What evolutions are drawn from, with repetition as weight.
        evolutions: Evolved forms of each root question.
        styles: How questions are answered, by the operation that made them; ``none`` for root
            questions.
        references: Passages retrieved for each question.
        rag_share: Share of root questions asked with references as well.
        unanswerable_share: Share of those whose references do not hold the answer.
        document_chars: Shortest and longest document that is given back as an answer itself.
        solutions: Solutions of each mathematics problem that vote on its answer.
        solution_temperature: Sampling temperature of the solutions.
        math_licence: Licence of mathematics conversations, which have no source document.
        dialogue_rounds: Most rounds of a dialogue.
    """

    languages: tuple[WrittenLanguage, ...] = ("zh-Hant-TW", "zh", "en")
    questions_per_passage: PositiveInt = 4
    operations: tuple[Operation, ...] = ("scenario",)
    evolutions: NonNegativeInt = 2
    styles: dict[Operation | Literal["none"], tuple[Style, ...]]
    references: PositiveInt = 4
    rag_share: Share = 0.5
    unanswerable_share: Share = 0.15
    document_chars: tuple[PositiveInt, PositiveInt] = (200, 2000)
    solutions: PositiveInt = 3
    solution_temperature: Annotated[float, Field(ge=0)] = 0.7
    math_licence: str = "unknown"
    dialogue_rounds: Annotated[int, Field(ge=2)] = 3

    @model_validator(mode="after")
    def _every_question_has_a_style(self) -> Self:
        if missing := sorted({"none", *self.operations} - self.styles.keys()):
            raise ValueError(f"styles: say how questions of {missing} are answered")
        return self

    @model_validator(mode="after")
    def _document_chars_are_a_range(self) -> Self:
        low, high = self.document_chars
        if low > high:
            raise ValueError(f"document_chars: {low} is more than {high}")
        return self


class DedupParams(Options):
    """When records are copies, and when they leak a benchmark.

    Attributes:
        lexical: Near-duplicates by shared n-grams.
        contamination: Overlap with benchmark questions.
    """

    lexical: LexicalOptions = LexicalOptions()
    contamination: ContaminationOptions = ContaminationOptions()


class CurateParams(Options):
    """What is kept for the second stage.

    Attributes:
        languages: Languages that the refined corpus holds.
        tags: How raw tags become final ones.
        selection: Budget, bounds and the lowest score.
    """

    languages: tuple[Language, ...] = ("zh-Hant-TW", "zh", "en")
    tags: NormalisationOptions = NormalisationOptions()
    selection: SelectionOptions = SelectionOptions()


class TrainParams(Options):
    """The three stages.

    Attributes:
        base_model: ``embedded``, or the path or name of a Gemma-2 checkpoint.
        embedded: Shape of the embedded model.
        sft_base: First stage, on the base corpus.
        sft_refine: Second stage, on the curated corpus.
        dpo: Third stage, on preference pairs.
        base_mix: Sources of the first stage and their shares; null takes every source whole.
        refine_mix: Likewise of the second stage.
        pair_sources: Sources of preference pairs; null takes all.
        base_rows: Most rows of the first stage, whole families of rephrasings at a time; null for
            all. The embedded model is too small to learn more in its half minute.
        refine_rows: Likewise of the second stage.
    """

    base_model: str = "embedded"
    embedded: EmbeddedModelOptions = EmbeddedModelOptions()
    sft_base: SFTOptions = SFTOptions()
    sft_refine: SFTOptions = REFINE
    dpo: DPOOptions = DPOOptions()
    base_mix: dict[str, Share] | None = None
    refine_mix: dict[str, Share] | None = None
    pair_sources: tuple[str, ...] | None = None
    base_rows: PositiveInt | None = None
    refine_rows: PositiveInt | None = None


class PreferenceParams(Options):
    """How preference pairs are found.

    Attributes:
        languages: Languages of the prompts that contestants answer.
        references: Passages that grounded contestants may use.
        sampling: How the tuned model answers as a contestant and against itself.
        margin: Smallest difference of win probabilities of a judged pair.
        licence: Licence of the contestants' answers.
        self_play_rows: Most conversations that the model replays; null for all it was trained on.
    """

    languages: tuple[WrittenLanguage, ...] = ("zh-Hant-TW", "zh", "en")
    references: PositiveInt = 3
    sampling: GenerationOptions = GenerationOptions(temperature=1.0)
    margin: Share = 0.3
    licence: str = "unknown"
    self_play_rows: PositiveInt | None = None


class EvaluateParams(Options):
    """How models are measured and promoted.

    Attributes:
        held_out: Most known questions that are asked again in unseen phrasings.
        judged_items: Most outputs that the judge compares.
        generation: How the models answer.
        statistics: Confidence and resamples.
        gate: What a model must show to become the champion.
    """

    held_out: PositiveInt = 80
    judged_items: NonNegativeInt = 24
    generation: GenerationOptions = GenerationOptions()
    statistics: StatisticsOptions = StatisticsOptions()
    gate: GateOptions = GateOptions()
