"""What can go wrong in training, as one line."""

from kyara_kedro.errors import UserError


class TrainingError(UserError):
    """A stage cannot start or came to nothing."""
