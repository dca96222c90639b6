"""Speed and memory, as ratios to named baselines; on the public API only."""
