"""Speaks as `core.serve` does, without torch. What a request asks for under "do":

echo   answers with the request    steps   `n` progress messages, `pause` seconds apart, then "done"
sleep  says nothing for an hour    fail    answers with an error    die  exits at once    nonsense  a line of no JSON
pid    its process id
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def send(message: Any) -> None:
    print(message if isinstance(message, str) else json.dumps(message), flush=True)


for line in sys.stdin:
    request = json.loads(line)
    id, do = request["id"], request["do"]
    if do == "echo":
        send({"id": "somebody else's", "result": "not this"})
        send({"id": id, "result": request})
    elif do == "pid":
        send({"id": id, "result": os.getpid()})
    elif do == "steps":
        for i in range(request["n"]):
            send({"id": id, "progress": ["step", i + 1, request["n"]]})
            time.sleep(request.get("pause", 0))
        send({"id": id, "result": "done"})
    elif do == "sleep":
        send({"id": id, "progress": ["sleeping", 0, 0]})
        time.sleep(3600)
    elif do == "fail":
        send({"id": id, "error": request["why"]})
    elif do == "nonsense":
        send("Segmentation fault")
    else:
        sys.exit(3)
