"""Supervised fine-tuning and preference optimisation, and the models they start from and make."""
