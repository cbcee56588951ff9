"""Prompts: rendering is pure, and the words come from a task folder."""
