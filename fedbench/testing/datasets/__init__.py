"""The rules for datasets, and what they are tried on."""
