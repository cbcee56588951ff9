"""New requests written from seeds (Self-Instruct, Wang et al., 2023): settings, names, what is kept."""
