"""From the physical graph to a plan: storage, kernel calls, arena."""
