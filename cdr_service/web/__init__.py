"""The HTTP edge: what comes in by which door, and what is answered. Nothing here decides anything about licenses.

`server` listens on a port, `doors` says who may come in, `intake` takes what Call Bridges push, `problems` says what
went wrong in a form that programs read, `health` says whether the service is well.
"""
