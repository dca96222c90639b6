"""Tables, names and arguments from the wild, each with the right outcome."""
