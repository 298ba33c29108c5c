"""Normalisation as a factor, as the paper tells it: what is compared, the tables, and their section."""
