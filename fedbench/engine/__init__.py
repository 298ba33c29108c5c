"""One run: its task, batches, local training, rounds and evaluation. ``fedbench.sources`` lists what computes."""
