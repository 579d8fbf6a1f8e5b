"""The methods that a benchmark compares, one file for each or for each kind."""
