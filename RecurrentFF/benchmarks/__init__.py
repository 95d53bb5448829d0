"""The benchmarks: a default configuration and a loader each, one command line for all."""
