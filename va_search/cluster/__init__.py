"""What a cluster file would do before it does it: `va-search cluster check`."""
