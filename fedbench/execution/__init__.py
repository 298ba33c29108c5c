"""Many runs over cores, GPUs and nodes: planned, executed, brought home, repeated and compared."""
