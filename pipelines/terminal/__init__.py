"""What a command shows: our own lines, one progress line, a log file for libraries, exit codes."""
