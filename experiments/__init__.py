"""What the method is worth on real data; on the public API only."""
