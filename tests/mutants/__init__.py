"""Declared mutations: small lies in the code that some test must notice; ``python -m tests.mutants``."""
