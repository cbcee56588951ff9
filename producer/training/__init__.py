"""Trains a sentence encoder on requests and the passages that answer them."""
