"""What people see of a command: lines of our own, one progress, a log file for libraries, exit codes."""
