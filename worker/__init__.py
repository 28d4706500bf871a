"""Background work: what is done for requests that were answered, or for those that nobody will make any more."""
