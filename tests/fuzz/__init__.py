"""Readers of what others wrote: whatever the input, a clear sentence or a right result."""
