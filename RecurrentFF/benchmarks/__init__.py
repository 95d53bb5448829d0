"""The benchmarks: each has a loader and a default configuration, and all share one command line."""
