"""Documentation for a request: rankings of passages, and the choice of those that are shown."""
