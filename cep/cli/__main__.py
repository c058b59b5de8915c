"""`python -m cep.cli`."""

import sys

from cep.cli import main

sys.exit(main())
