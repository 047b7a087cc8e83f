"""Teachers: whoever writes, answers and judges; a language model, or rules.

``base`` holds what is asked and what comes back, ``tasks`` what can be asked. ``openai_chat`` asks
a model behind an endpoint, ``replay`` the ledger alone, ``batch`` a batch service and ``local`` a
model on this machine; ``extractive`` answers by rules. Every reply of a model goes through
``ledger``.
"""
