"""The status of a run, and its text in a terminal."""
