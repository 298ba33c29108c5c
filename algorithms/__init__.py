"""One file per federated algorithm. A new file here is found by itself; see :mod:`fedbench.algorithm`."""
