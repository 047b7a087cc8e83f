"""TMMLU+: examinations of Taiwan in 66 or 67 subjects (iKala, arXiv 2403.01858).

The official score is the mean over four groups, each the mean over its subjects' accuracies
(``ievals/cli/tmmluplus.py`` of https://github.com/iKala/ievals). The dataset's paper has 66
subjects; iKala's ``subject.tsv`` has one more, ``linear_algebra``. ``Tmmluplus`` counts the 66 and
``Tmmluplus67`` all of them, under a name of its own, so that a table says which.

For endpoints that give log-probabilities see ``evaluation.harness`` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import Averaging, Question, Rows, part_of
from kyara_kedro.evaluation.benchmarks.tc_eval import (
    LETTERS,
    TcEvalChoice,
    subject_questions,
    version_of,
)

_SUBJECTS = {
    "STEM": (
        "advance_chemistry basic_medical_science computer_science engineering_math "
        "junior_chemistry junior_math_exam junior_science_exam linear_algebra organic_chemistry "
        "pharmacy physics secondary_physics statistics_and_machine_learning tve_mathematics "
        "tve_natural_sciences"
    ),
    "Humanities": (
        "administrative_law anti_money_laundering general_principles_of_law introduction_to_law "
        "jce_humanities taxation trust_practice"
    ),
    "Social-Science": (
        "chinese_language_and_literature clinical_psychology economics education "
        "education_(profession_level) educational_psychology geography_of_taiwan human_behavior "
        "junior_chinese_exam macroeconomics national_protection "
        "occupational_therapy_for_psychological_disorders physical_education politic_science "
        "taiwanese_hokkien three_principles_of_people ttqav2 tve_chinese_language"
    ),
    "Other": (
        "accounting agriculture auditing business_management culinary_skills dentistry "
        "finance_banking financial_analysis fire_science insurance_studies junior_social_studies "
        "logic_reasoning management_accounting marketing_management mechanical music "
        "nautical_science official_document_management optometry pharmacology real_estate "
        "technical trade traditional_chinese_medicine_clinical_medicine tve_design "
        "veterinary_pathology veterinary_pharmacology"
    ),
}
GROUPS_67 = {name: group for group, names in _SUBJECTS.items() for name in names.split()}
"""Subject to group, of iKala's list (``ievals/subject.tsv`` with ``ievals/settings.py``, MIT)."""
GROUPS_66 = {name: group for name, group in GROUPS_67.items() if name != "linear_algebra"}
"""Those of the dataset's paper, as MediaTek's ``scripts/_meta_data.py`` (TCEval) has them."""


class Tmmluplus(TcEvalChoice):
    """The 66 subjects of the dataset's paper, for chat endpoints."""

    kind = "tmmluplus"
    title = "TMMLU+ (66 subjects)"
    prompt = "問題: {question} \n\n請從以下選項中選擇並回答: {choices}\n"
    version = version_of(prompt)
    averaging = Averaging("groups", GROUPS_66)
    groups: ClassVar[Mapping[str, str]] = GROUPS_66

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        asked = list(questions)
        for question in asked:
            if question.stratum not in GROUPS_67:
                raise UserError(
                    f"benchmark '{name}', item '{question.item_id}': {question.stratum!r} is none "
                    "of TMMLU+'s subjects; write it as the dataset does, e.g. 'physics'"
                )
        super().__init__(name, (question for question in asked if question.stratum in self.groups))

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read the rows of ``ikala/tmmluplus``, each with its ``subject``; the part ``questions``.

        Fields are ``question``, ``A`` to ``D`` and ``answer``, a letter.
        """
        return subject_questions(cls.kind, part_of(parts, cls.kind), LETTERS[:4])


class Tmmluplus67(Tmmluplus):
    """The 67 subjects of iKala's list."""

    kind = "tmmluplus-67"
    title = "TMMLU+ (67 subjects)"
    averaging = Averaging("groups", GROUPS_67)
    groups = GROUPS_67
