"""Results: the metrics of a model, the comparison of several, and figures."""
