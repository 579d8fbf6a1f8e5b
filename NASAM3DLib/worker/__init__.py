"""The background process that does the heavy work for a graphical program."""
