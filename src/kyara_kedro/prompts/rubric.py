"""What a judge grades in a conversation, and on which scale; the task is rate_conversation."""

CRITERIA = ("instruction", "correctness", "helpfulness", "language")
"""Does the assistant do what was asked, is what it says true, does it help, is it well written."""

LOWEST, HIGHEST = 1, 5
"""Ends of the scale of whole grades."""
