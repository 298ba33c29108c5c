"""From run folders to the small folder that is kept in git."""
