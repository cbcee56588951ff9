"""Where a run stands, and how it is shown in a terminal."""
