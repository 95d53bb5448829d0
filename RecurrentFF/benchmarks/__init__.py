"""The benchmarks: runs from the command line, their recipes, reports on them, and measurements of speed."""
