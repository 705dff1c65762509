"""What puts the books right from what was kept: dead letters tried again, state derived anew from the documents.

`beside` works on the store beside a service that may be running, `watching` remembers what went wrong there.
"""
