"""Where every record comes from, what became of it, and what a run was made of.

Nothing here knows Kedro: tables, ledgers and models come through :class:`~.store.Store`.
"""
