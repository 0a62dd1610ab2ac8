"""The conversion zoo: nets of other libraries' definitions with random weights, through every front end."""
