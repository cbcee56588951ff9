"""Judging texts that stand in files, whoever wrote them."""
