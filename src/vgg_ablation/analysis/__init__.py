"""What the predictions say: intervals, comparisons, claims, fairness. Numbers only."""
