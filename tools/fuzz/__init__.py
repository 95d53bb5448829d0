"""Fuzzing of everything that reads files or arguments of other people: python -m tools.fuzz --seconds 300 --target checkpoint.

Each target has a strategy of hypothesis, which makes examples as bytes, and a check, which reads an example as a user would. The
check fails unless the reader keeps the contract of module `contract`: it returns, or it raises a named error with one printable
line that says which file is wrong, within limits of time and memory.

Hypothesis makes the examples and shrinks those that fail. Atheris, which is guided by the coverage of the code, is not used: it
is built with clang, and has no wheels for present versions of Python.

Examples that once failed are in tests/fuzz_cases, in a folder for each target; tests/test_fuzz_cases.py repeats them.
"""
