"""`python -m llm`. See `llm.cli`."""

import sys

from llm.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
