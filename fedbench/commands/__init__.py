"""The commands, by what they are for, and what they share. Each imports what is heavy only when it runs."""
