"""The parameters of each pipeline: typed, and strict about unknown keys and impossible values."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)

from kyara_kedro.content import content_id
from kyara_kedro.evaluation.gate import GateOptions
from kyara_kedro.evaluation.harness import HarnessOptions
from kyara_kedro.evaluation.scores import StatisticsOptions
from kyara_kedro.options import Options
from kyara_kedro.quality.scorers import HeuristicsScorerOptions, QualityOptions, ScorerOptions
from kyara_kedro.quality.selection import SelectionOptions
from kyara_kedro.quality.tag_normalisation import NormalisationOptions
from kyara_kedro.records import Language, Operation
from kyara_kedro.reporting.review_page import ReviewOptions
from kyara_kedro.similarity.lexical import LexicalOptions
from kyara_kedro.similarity.meaning import SemanticOptions
from kyara_kedro.teachers.tasks import Kind
from kyara_kedro.text.filters import FilterOptions
from kyara_kedro.text.leaks import Policy
from kyara_kedro.training.options import (
    REFINE,
    AlarmOptions,
    CheckpointOptions,
    DPOOptions,
    EmbeddedModelOptions,
    GenerationOptions,
    LauncherOptions,
    MachineOptions,
    PeftOptions,
    PreferenceRecipe,
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
        simplified: What becomes of Simplified and Mainland Chinese in Chinese documents: it is
            repaired, the document is dropped, or it is only reported.
        min_chars: Shortest document as it is read.
        reward_margin: Smallest difference of two answers' rewards that is worth a preference pair;
            ratings given by people or judges only have to differ.
        filters: Bounds of what is left of a document once it is clean.
        passage_chars: Longest passage, in characters.
        passage_tokens: Longest passage, in tokens too.
        tokenizer: Path of the ``tokenizer.json`` that counts them; without one they are estimated.
        overlap_sentences: Sentences that a passage repeats of the one before.
        salt: Secret that passage ids are made with, so that the author of a document cannot know
            them; without one they follow from the documents alone.
    """

    licence: str = "unknown"
    simplified: Policy = "convert"
    min_chars: PositiveInt = 40
    reward_margin: Annotated[float, Field(ge=0)] = 0.01
    filters: FilterOptions = FilterOptions()
    passage_chars: PositiveInt = 400
    passage_tokens: PositiveInt | None = None
    tokenizer: str | None = None
    overlap_sentences: NonNegativeInt = 1
    salt: SecretStr = SecretStr("")


class QuestionParams(Options):
    """The knowledge questions that everything else begins with.

    Attributes:
        per_passage: Most root questions of a passage.
        kinds: Largest share of each kind among the questions; null asks for every kind alike.
        spare: Passages to ask for each dialogue or system-prompt conversation wanted: these begin
            with the questions of a passage, and some come to nothing.
    """

    per_passage: PositiveInt = 4
    kinds: dict[Kind, Share] | None = None
    spare: Annotated[float, Field(ge=1)] = 3.0


class EvolutionParams(Options):
    """How questions are made harder (Evol-Instruct, arXiv:2304.12244).

    Attributes:
        forms: Evolved forms of each root question.
        rounds: How often each form is evolved; one that is eliminated is tried again in the next
            round, from its parent.
        operations: What evolutions are drawn from, with repetition as weight.
    """

    forms: NonNegativeInt = 2
    rounds: PositiveInt = 1
    operations: tuple[Operation, ...] = ("scenario",)


class ReferenceParams(Options):
    """What is retrieved for a question.

    Attributes:
        passages: Passages that are retrieved and judged.
        shown: Most documents in a prompt with references.
        refresh: Search again for questions that the last run has found passages for. Without it
            new documents are looked at by new questions only, and nothing is judged twice.
    """

    passages: PositiveInt = 4
    shown: PositiveInt = 4
    refresh: bool = False


class StrategyParams(Options):
    """What every strategy has.

    Attributes:
        target: Conversations that it shall yield; null takes what the source gives, 0 nothing.
        share: Largest part of the teachers' budgets that it may use.
    """

    target: NonNegativeInt | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None


class KnowledgeParams(StrategyParams):
    """Questions answered from documents that the reader does not see.

    Attributes:
        styles: How a question is answered, by the operation that made it; ``none`` for root
            questions.
        support: Smallest share of an answer's content that its documents have to hold.
    """

    styles: dict[Operation | Literal["none"], tuple[Style, ...]]
    support: Share = 0.5


class RagParams(Options):
    """Questions asked with reference documents, within the same share of the budget as knowledge.

    Attributes:
        target: As of every strategy.
        part: Part of the root questions that is asked this way.
        unanswerable: Part of those whose references do not hold the answer.
        support: Smallest share of a cited sentence's content that the cited documents hold.
        checked: Whether the checker is asked as well if each cited sentence is supported.
    """

    target: NonNegativeInt | None = None
    part: Share = 0.5
    unanswerable: Share = 0.15
    support: Share = 0.6
    checked: bool = True


class DocumentParams(StrategyParams):
    """Documents as answers to a prompt of their own.

    Attributes:
        chars: Shortest and longest document.
        found_within: The prompt has to find its document among that many passages.
    """

    chars: tuple[PositiveInt, PositiveInt] = (200, 2000)
    found_within: PositiveInt = 10

    @model_validator(mode="after")
    def _chars_are_a_range(self) -> Self:
        low, high = self.chars
        if low > high:
            raise ValueError(f"chars: {low} is more than {high}")
        return self


class MathParams(StrategyParams):
    """Problems that personas pose.

    Attributes:
        solutions: Solutions of each problem; they vote on its answer.
        temperature: Sampling temperature of the solutions.
        agreement: The answer needs more than this share of the solutions.
        checked: Whether the checker looks through the solution as well.
        licence: Licence of the conversations, which have no source document.
    """

    solutions: PositiveInt = 3
    temperature: Annotated[float, Field(ge=0)] = 0.7
    agreement: Annotated[float, Field(ge=0, lt=1)] = 0.5
    checked: bool = True
    licence: str = "unknown"


class DialogueParams(StrategyParams):
    """Conversations of several rounds about a passage.

    Attributes:
        rounds: Most rounds.
        support: As for knowledge.
    """

    rounds: Annotated[int, Field(ge=2)] = 3
    support: Share = 0.5


class ToldParams(StrategyParams):
    """Conversations under a system prompt whose constraints code can check.

    Attributes:
        support: As for knowledge.
    """

    support: Share = 0.5


class MagpieParams(StrategyParams):
    """Requests that a model makes up by itself (Magpie, arXiv:2406.08464).

    Attributes:
        target: As above; a model without end has to be told how many.
        template: Name of the model's chat template, or its text before a user's turn.
        system: System prompt that steers language and subject; null for none.
        temperature: Sampling temperature of the requests.
        top_p: Nucleus mass of the requests.
        chars: Shortest and longest request.
        licence: Licence of the conversations.
    """

    target: NonNegativeInt = 0
    template: str = "gemma-2"
    system: str | None = None
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.99
    chars: tuple[PositiveInt, PositiveInt] = (8, 1000)
    licence: str = "unknown"


@dataclass(frozen=True)
class Function:
    """A function that is named in the parameters.

    Attributes:
        name: ``module:function``.
        sha: Hash of the module's file; as a part of the parameters it tells when that was edited.
        call: The function.
    """

    name: str
    sha: str
    call: Callable[..., None]

    def __str__(self) -> str:
        """What a run remembers of it."""
        return f"{self.name}@{self.sha}"


def _function(name: Any) -> Function:
    if isinstance(name, Function):
        return name
    module, _, function = str(name).partition(":")
    try:
        found = import_module(module)
    except (ImportError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: {error}; write it as module:function") from error
    call = getattr(found, function, None)
    if not callable(call):
        raise ValueError(f"{name}: {module} has no function '{function}'")
    return Function(str(name), content_id(inspect.getsource(found))[:8], call)


class OwnStrategyParams(StrategyParams):
    """A strategy of your own, a function as ``kyara_kedro.pipelines.synthesize.strategy`` says.

    Attributes:
        function: ``module:function``; the module lies in ``src`` or is installed.
        seeds: What it begins with: every row becomes one conversation or one drop. Of the
            questions these are the root questions.
    """

    function: Annotated[Function, PlainValidator(_function, json_schema_input_type=str)]
    seeds: Literal["documents", "passages", "questions", "personas"]


_FLOWS = frozenset(
    {
        *("passages", "questions", "evolutions", "knowledge", "rag", "document", "math"),
        *("dialogue", "told", "magpie", "total", "retrieval", "citations"),
    }
)
"""What ``synthesize_summary`` holds anyway."""


def _own_name(name: str) -> str:
    if name in _FLOWS:
        raise ValueError(f"'{name}' is taken: name your strategy otherwise")
    return name


OwnName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$"), AfterValidator(_own_name)]


class SynthesizeParams(Options):
    """What is written from documents and personas, and how much of it.

    Attributes:
        languages: Languages that conversations are written in.
        simplified: What happens to replies that should be Taiwan's Chinese and are not: ``convert``
            repairs them, ``drop`` refuses them, ``report`` counts them.
        questions: Knowledge questions.
        evolution: Their evolved forms.
        references: Retrieval.
        knowledge: Answers without references.
        rag: Answers with references.
        document: Documents as answers.
        math: Mathematics.
        dialogue: Several rounds.
        told: System prompts.
        magpie: Requests out of a model.
        own: Strategies of your own, by the name that their conversations have as their source.
    """

    languages: tuple[WrittenLanguage, ...] = ("zh-Hant-TW", "zh", "en")
    simplified: Literal["convert", "drop", "report"] = "convert"
    questions: QuestionParams = QuestionParams()
    evolution: EvolutionParams = EvolutionParams()
    references: ReferenceParams = ReferenceParams()
    knowledge: KnowledgeParams
    rag: RagParams = RagParams()
    document: DocumentParams = DocumentParams()
    math: MathParams = MathParams()
    dialogue: DialogueParams = DialogueParams()
    told: ToldParams = ToldParams()
    magpie: MagpieParams = MagpieParams()
    own: dict[OwnName, OwnStrategyParams] = Field(default={})

    @model_validator(mode="after")
    def _every_question_has_a_style(self) -> Self:
        if missing := sorted({"none", *self.evolution.operations} - self.knowledge.styles.keys()):
            raise ValueError(f"knowledge.styles: say how questions of {missing} are answered")
        return self


class DedupParams(Options):
    """When conversations are copies of one another.

    Attributes:
        lexical: Near-duplicates by shared n-grams.
        semantic: Near-duplicates by the vectors of an encoder; null for none.
    """

    lexical: LexicalOptions = LexicalOptions()
    semantic: SemanticOptions | None = None


class CurateParams(Options):
    """What is kept for the second stage.

    Attributes:
        languages: Languages that the refined corpus holds.
        tagger: Who tags: the embedded ``rules``, or the ``teacher`` that the catalog calls tagger.
        tags: How raw tags become final ones.
        quality: Who scores conversations, and how much each counts.
        selection: Budget, bounds, aims and the lowest score.
        review: Which conversations the review page shows.
    """

    languages: tuple[Language, ...] = ("zh-Hant-TW", "zh", "en")
    tagger: Literal["rules", "teacher"] = "rules"
    tags: NormalisationOptions = NormalisationOptions()
    quality: QualityOptions = QualityOptions()
    selection: SelectionOptions = SelectionOptions()
    review: ReviewOptions = ReviewOptions()

    @model_validator(mode="after")
    def _aims_at_languages_that_it_holds(self) -> Self:
        for name in self.selection.language_targets:
            if name not in self.languages:
                raise ValueError(f"selection.language_targets names {name}, languages does not")
        return self


class ShardsParams(Options):
    """How many nodes share heavy work.

    Attributes:
        lexical: Comparing texts for near-duplicates.
        vectors: Embedding texts for near-duplicates in meaning.
        rewards: Scoring conversations by reward models.
        answers: Answering benchmarks with our own models.
    """

    lexical: PositiveInt = 1
    vectors: PositiveInt = 1
    rewards: PositiveInt = 1
    answers: PositiveInt = 1


class TrainParams(Options):
    """The three stages.

    Attributes:
        base_model: ``embedded``, or the path or name of a Gemma-2 checkpoint.
        embedded: Shape of the embedded model.
        sft_base: First stage, on the base corpus.
        sft_refine: Second stage, on the curated corpus.
        dpo: Third stage, on preference pairs; ``kind: sppo`` takes win probabilities instead.
        machine: What all stages run on.
        launcher: Where their work is done.
        peft: Which weights they train.
        alarms: What is watched during training, and when it stops a stage.
        checkpoint: What is kept while they are under way.
        base_mix: Sources of the first stage and their shares; null takes every source whole.
        refine_mix: Likewise of the second stage.
        pair_sources: Sources of preference pairs; null takes all.
        base_rows: Most rows of the first stage, whole families of rephrasings at a time; null for
            all. The embedded model is too small to learn more in its half minute.
        refine_rows: Likewise of the second stage.
        held_out: Share of the families that no stage learns from and each validates on.
    """

    base_model: str = "embedded"
    embedded: EmbeddedModelOptions = EmbeddedModelOptions()
    sft_base: SFTOptions = SFTOptions()
    sft_refine: SFTOptions = REFINE
    dpo: PreferenceRecipe = DPOOptions()
    machine: MachineOptions = MachineOptions()
    launcher: LauncherOptions = LauncherOptions()
    peft: PeftOptions = PeftOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    alarms: AlarmOptions = AlarmOptions()
    base_mix: dict[str, Share] | None = None
    refine_mix: dict[str, Share] | None = None
    pair_sources: tuple[str, ...] | None = None
    base_rows: PositiveInt | None = None
    refine_rows: PositiveInt | None = None
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.02


class SppoParams(Options):
    """Pairs among several answers of the tuned model (SPPO, arXiv:2405.00675).

    Attributes:
        samples: Answers to each prompt.
        temperature: 1 samples from the model's distribution.
        top_p: Samples only from the most probable tokens that together have this probability.
        ranker: Who ranks the answers: a scorer as those of ``curate.quality``, or the judge in a
            round robin.
        sharpness: What a scorer's difference of two values is multiplied with before it becomes a
            win probability: 1 for rewards in logits, about 100 for ArmoRM's.
        margin: Smallest difference of win probabilities of a pair.
    """

    samples: Annotated[int, Field(ge=2)] = 5
    temperature: PositiveFloat = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    ranker: ScorerOptions = HeuristicsScorerOptions(kind="heuristics")
    sharpness: PositiveFloat = 10.0
    margin: Share = 0.1


class SelfPlayParams(Options):
    """How the tuned model plays against the corpus and itself.

    Attributes:
        rows: Most conversations that it plays; null for all it was trained on.
        served: Whether the teacher ``self_player`` of the catalog answers, which serves the model;
            otherwise it is loaded here.
        iteration: 0 plays the refined model; later ones play what preference training made of the
            one before, and train on the pairs of both.
        temperature: 1 samples from the model's distribution.
        top_p: Samples only from the most probable tokens that together have this probability.
        held_out: Share of the conversations that make no pair and tell when to stop.
        tolerance: How near to one half the accuracy on them has to be to stop.
        batch_size: Conversations answered at once.
        threads: CPU threads.
        sppo: Pairs among several answers as well; null for none.
    """

    rows: PositiveInt | None = None
    served: bool = False
    iteration: NonNegativeInt = 0
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    batch_size: PositiveInt = 64
    threads: PositiveInt = 1
    sppo: SppoParams | None = None


class PreferenceParams(Options):
    """How preference pairs are found.

    Attributes:
        languages: Languages of the prompts that contestants answer.
        references: Passages that grounded contestants may use.
        contestants: How many of the contestants answer each prompt.
        tuned: Models of this project that are contestants too.
        judges: Judges of each two answers, of those in the catalog.
        allow_own_family: Whether a judge may judge answers of its own family of models.
        length_controlled: Whether what judges give to length alone is taken from the win
            probabilities.
        resamples: Resamples behind the intervals of ratings and reliability.
        sampling: How the tuned models answer as contestants.
        margin: Smallest difference of win probabilities of a judged pair.
        licence: Licence of the contestants' answers.
        self_play: How the tuned model plays against the corpus and itself.
        weights: The sources to take and how many pairs each gives in relation to the others; null
            for all there is.
    """

    languages: tuple[WrittenLanguage, ...] = ("zh-Hant-TW", "zh", "en")
    references: PositiveInt = 3
    contestants: Annotated[int, Field(ge=2)] = 4
    tuned: tuple[Literal["sft_base", "sft_refine"], ...] = ("sft_base", "sft_refine")
    judges: PositiveInt = 1
    allow_own_family: bool = False
    length_controlled: bool = False
    resamples: PositiveInt = 500
    sampling: GenerationOptions = GenerationOptions(temperature=1.0)
    margin: Share = 0.3
    licence: str = "unknown"
    self_play: SelfPlayParams = SelfPlayParams()
    weights: dict[str, PositiveFloat] | None = None


class OwnSuiteOptions(Options):
    """How many questions of our own suite are made from the knowledge base, at most.

    Attributes:
        grounded: With documents that answer them.
        refusal: With documents, half of them without the answer.
        instructions: With verifiable demands.
        script: In Simplified Chinese and in English.
        document_chars: Longest document, cut at sentences; null shows whole passages.
    """

    grounded: NonNegativeInt = 200
    refusal: NonNegativeInt = 200
    instructions: NonNegativeInt = 200
    script: NonNegativeInt = 100
    document_chars: PositiveInt | None = None


class EvaluateParams(Options):
    """How models are measured and promoted.

    Attributes:
        held_out: Most known questions that are asked again in unseen phrasings.
        own_suite: How large our own suite is.
        judged_items: Most outputs of two stages that the judge compares.
        max_unread: Largest share of a benchmark's judgements that may be without a verdict.
        generation: How the models answer where a benchmark's protocol does not say.
        harness: Tasks of lm-evaluation-harness that models on disk are measured by.
        statistics: Confidence and resamples.
        gate: What a model must show to become the champion.
    """

    held_out: PositiveInt = 80
    own_suite: OwnSuiteOptions = OwnSuiteOptions()
    judged_items: NonNegativeInt = 24
    max_unread: Annotated[float, Field(ge=0, le=1)] = 0.05
    generation: GenerationOptions = GenerationOptions()
    harness: HarnessOptions = HarnessOptions()
    statistics: StatisticsOptions = StatisticsOptions()
    gate: GateOptions = GateOptions()
