"""Floor 6: measured experiments, each a claim with its table and its picture."""
