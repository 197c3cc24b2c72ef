"""The command line: commands, what they print, and what they are told by Ctrl-C."""
