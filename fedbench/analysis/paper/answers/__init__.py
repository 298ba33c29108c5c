"""The answers to the paper's questions, in words that the tests choose; a module for each question."""
