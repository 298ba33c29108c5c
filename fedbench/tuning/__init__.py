"""Hyper-parameters chosen alike for every algorithm: the same number of trials, on validation cases alone."""
