"""The pictures of the pages, each made from a real run: `python -m tests.pictures`."""
