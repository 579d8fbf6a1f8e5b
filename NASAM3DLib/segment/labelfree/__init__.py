"""The promptable network trained on generated volumes only, and what makes and runs it."""
