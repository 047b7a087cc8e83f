"""Teachers: whoever writes, answers and judges; a language model behind an endpoint, or rules."""

from kyara_kedro.teachers.base import (
    ChatRequest,
    Completion,
    Status,
    Teacher,
    TeacherError,
    ask,
    request_key,
)
from kyara_kedro.teachers.extractive import ExtractiveOptions, ExtractiveTeacher
from kyara_kedro.teachers.ledger import Ledger, StoredReply
from kyara_kedro.teachers.openai_chat import OpenAIOptions, OpenAITeacher
from kyara_kedro.teachers.tasks import KINDS, TASKS, Reply, ReplyError, Task, read_reply

__all__ = [
    "KINDS",
    "TASKS",
    "ChatRequest",
    "Completion",
    "ExtractiveOptions",
    "ExtractiveTeacher",
    "Ledger",
    "OpenAIOptions",
    "OpenAITeacher",
    "Reply",
    "ReplyError",
    "Status",
    "StoredReply",
    "Task",
    "Teacher",
    "TeacherError",
    "ask",
    "read_reply",
    "request_key",
]
