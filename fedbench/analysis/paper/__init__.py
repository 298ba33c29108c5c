"""What ``fedbench paper`` puts into ``paper/``: numbers, sentences, tables and figures, all from published results."""
