"""Commands on what earlier runs have left: do one again, and clear away what nothing needs."""
