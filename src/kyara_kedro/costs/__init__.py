"""What a run will cost, by a rehearsal, and what it has cost."""
