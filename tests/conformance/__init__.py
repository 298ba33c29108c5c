"""The conformance kit: our own plugins pass; every wrong one is caught by the rules that should, and by no other."""
