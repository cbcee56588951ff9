"""The run page, its events and metrics: read-only, behind a password. Only `starmill serve` imports it."""
