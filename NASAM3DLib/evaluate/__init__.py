"""Figures of merit, simulated clicks, tables and pictures."""
