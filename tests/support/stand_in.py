"""Stands in for a tool that writes to boards: keeps its arguments, prints what the real one prints, reads back what was written.

STAND_IN_LOG: arguments, a line of JSON a call. STAND_IN_SAYS: a file of texts, one a call, with the status in front.
STAND_IN_READS: a file whose bytes are what it reads from the flash.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

log = Path(os.environ["STAND_IN_LOG"])
calls = log.read_text().splitlines() if log.exists() else []
with log.open("a") as file:
    file.write(json.dumps([Path(sys.argv[0]).stem, *sys.argv[1:]]) + "\n")
status, text = json.loads(Path(os.environ["STAND_IN_SAYS"]).read_text())[len(calls)]
for piece in re.split(r"(?<=[\r\n=])", text):
    sys.stdout.write(piece)
    sys.stdout.flush()
    time.sleep(0.001)
if "STAND_IN_READS" in os.environ and status == 0:
    words = " ".join(sys.argv)
    place = re.search(r"(?:savemem \S+ \d+ |-U )\"?([^\s\"]+)", words)
    if place:
        with open(place[1], "xb") as made:
            made.write(Path(os.environ["STAND_IN_READS"]).read_bytes())
sys.exit(status)
