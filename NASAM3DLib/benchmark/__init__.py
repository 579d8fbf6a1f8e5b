"""Benchmarks over many cases: what is segmented, by which methods, and how well."""
