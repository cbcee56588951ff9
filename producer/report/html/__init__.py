"""The report as one HTML page that loads nothing: plots as inline SVG, readable on a phone, in the dark
and on paper, with one small script that filters single rows."""

from producer.report.html.page import render, tables

__all__ = ["render", "tables"]
