"""Posts a call that begins and ends, with nobody in it, and reads it back: it takes no license."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.request import Request

# The certificate names the host that Call Bridges use, not the Service by which this test comes.
ANY_CERTIFICATE = ssl._create_unverified_context()
TOKENS = Path(os.environ["TOKENS"])
FORBIDDEN = 403
COME_AGAIN = 503


def token(name: str) -> str:
    """Return a token, the first where two are let in; empty where there is none."""
    file = TOKENS / name
    return file.read_text().strip().split(",")[0] if file.exists() else ""


def ask(request: Request) -> bytes | None:
    """Return the answer, None where this address is not let in; try again while service or store are still starting."""
    where, reason = request.full_url.partition("?")[0], ""
    for _ in range(12):
        try:
            with urllib.request.urlopen(request, timeout=10, context=ANY_CERTIFICATE) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as problem:
            if problem.code == FORBIDDEN:
                return None
            reason = f"it answers {problem.code} {problem.reason}"
            if problem.code != COME_AGAIN:
                break
        except OSError as problem:
            reason = str(problem)
        time.sleep(5)
    sys.exit(f"{where} cannot be used: {reason}.")


def main() -> None:
    """Post and read back."""
    call, now = str(uuid.uuid4()), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    document = (
        f'<records session="{uuid.uuid4()}">'
        f'<record type="callStart" time="{now}" recordIndex="1" correlatorIndex="0"><call id="{call}">'
        f"<name>helm test</name><callCorrelator>{call}</callCorrelator></call></record>"
        f'<record type="callEnd" time="{now}" recordIndex="2" correlatorIndex="1"><call id="{call}"/></record>'
        "</records>"
    )
    query = "?bridge=helm-test" + (f"&token={token('intake-token')}" if token("intake-token") else "")
    taken = ask(Request(f"{os.environ['INTAKE_URL']}/cdr{query}", document.encode(), method="POST"))
    path = "/v1/usage" if taken is None else f"/v1/calls/{call}"
    headers = {"Authorization": f"Bearer {token('api-token')}"}
    found = json.loads(ask(Request(f"{os.environ['API_URL']}{path}", headers=headers)) or b"{}")
    if taken is None:
        print("settings.intake_allow has no pod of this cluster, so nothing was posted; intake and API do answer.")
        return
    if (found.get("id"), found.get("state"), found.get("name")) != (call, "ended", "helm test"):
        sys.exit(f"What came back is not what was posted: {found}")
    print(f"Call {call} was taken in and read back.")


main()
