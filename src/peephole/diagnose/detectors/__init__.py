"""One file = one detector."""
