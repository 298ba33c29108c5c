"""What ``--suite NAME`` knows: a TOML file each."""
