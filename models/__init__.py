"""Models: requests to them, their answers, and how answers are scored. `core` is pure; `adapters` do I/O."""
