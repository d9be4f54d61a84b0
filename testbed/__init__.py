"""What tests and benchmarks run both programs in, and hold them against.

Networks of our own (`fakes`), homes with a stock, PostgreSQL, a browser, a clock that can be moved; the same
step done naively. Knows no test and no benchmark.
"""
