"""Commands: one file each, thin. They parse, call a room below and print."""
