"""Numbers that follow from a study's results: errors, intervals, comparisons, claims, fairness. No prose."""
