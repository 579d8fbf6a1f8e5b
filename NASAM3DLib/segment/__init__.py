"""From a volume and prompts to a mask."""
