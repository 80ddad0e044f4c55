"""Run in a process of its own: `salience push` of one folder several times.

Arguments: the folder, and JSON of [token or null, words behind the folder] for each push. Writes JSON of the status of
each and of what it says on standard error.
"""

import io
import json
import os
import sys
from contextlib import redirect_stderr

from salience.eval import cli

told = []
for token, words in json.loads(sys.argv[2]):
    os.environ.pop("HF_TOKEN", None)
    os.environ |= {"HF_TOKEN": token} if token else {}
    with redirect_stderr(io.StringIO()) as errors:
        status = cli.main(["push", sys.argv[1], *words], "salience", cli.COMMANDS)
    told.append((status, errors.getvalue()))
json.dump(told, sys.stdout)
