"""Many runs over cores, GPUs and nodes: planned, executed, brought home, repeated and compared."""

from fedbench.sources import harness_digest

harness_digest()  # read before what computes is imported, not after hours: the files may change meanwhile
