"""Errors that a person can act on: one line that names the thing, the value and the fix."""


class UserError(ValueError):
    """Something in the input or the configuration has to change; the message says what."""
