"""kyara-kedro: from documents to a small language model that is good in Traditional Chinese."""

__version__ = "0.1.0"
