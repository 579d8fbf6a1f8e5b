"""Weights of networks: which there are, where they are kept, and how they get there."""
