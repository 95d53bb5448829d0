"""Read and write TOML: `loads` of the standard library (of tomli before Python 3.11), and `dumps` of tomli_w."""

import sys

from tomli_w import dumps

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

__all__ = ["TOMLDecodeError", "dumps", "loads"]
