"""The report of a run: ablation tables, statistics of the synthetic set, and the formats that show them."""
