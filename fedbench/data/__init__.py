"""From raw files to prepared cases, and to who holds them: what a run reads."""
