"""The report as one HTML page that loads nothing: inline SVG, readable on phones and on paper."""
