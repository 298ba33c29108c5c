"""One file per dataset. A new file here is found by itself; see :mod:`fedbench.dataset`."""
