"""One module for each verb of the command line: `command` is what is run, `PANEL` and `EXAMPLES` are for its help."""
