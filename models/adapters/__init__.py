"""Adapters to the world outside: model backends, sentence encoders, and the sandbox."""
