"""Results of a run: reports, exports, histories of rows, and differences between runs."""
