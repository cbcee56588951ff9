"""The plan of a run: the graph of stages and the ablation grid."""
