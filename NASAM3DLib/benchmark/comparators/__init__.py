"""Methods that the tables compare beside the click methods, each in a file of its own."""
