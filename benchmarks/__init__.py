"""Speed and memory of fedbench against a bare PyTorch loop and against peers; one command each, see README.md."""
