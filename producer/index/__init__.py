"""Build the passage index of an experiment, train its encoder, and measure its search."""
