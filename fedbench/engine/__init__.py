"""One run: its task, batches, local training, rounds and evaluation. What computes is in the harness's digest."""
