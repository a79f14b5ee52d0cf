"""The command line: what each command checks and runs, and what a terminal shows meanwhile."""
