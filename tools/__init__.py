"""Programs that fetch and build the real components which tests, drills and benchmarks run against."""
