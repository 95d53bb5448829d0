"""The command line: python -m RecurrentFF COMMAND."""

import sys

from RecurrentFF.cli import main

sys.exit(main())
