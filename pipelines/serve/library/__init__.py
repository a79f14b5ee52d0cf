"""The library of the endpoint: takes and their files, whether an engine runs or not."""
