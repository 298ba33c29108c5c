"""What ``fedbench new`` writes: jinja templates of a plugin and of its test."""
