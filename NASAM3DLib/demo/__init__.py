"""The whole road once, on a generated patient: scan, reconstruct, click, measure, report."""
