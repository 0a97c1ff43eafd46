"""The folder of `va-search look`: one page of recordings, annotations and predictions that opens from
the disk, without a server and without a network."""
