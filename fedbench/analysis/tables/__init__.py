"""Tables of results: what stands in them, and how they are written."""
