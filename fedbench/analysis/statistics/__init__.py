"""From rows of scores to tests, intervals and rankings, and how far these can be trusted."""
