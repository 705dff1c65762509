"""The embedded server's parent process: the server lives exactly as long as the service that wanted it.

Nothing inside a process can act after a SIGKILL of it, so the watching is done by this small process. Its standard
input is a pipe whose other end only the service holds: end of file means that the service is gone or wants to stop,
on Linux and macOS alike, at once and without polling. (The kernel's parent-death signal, set on the server itself,
would not do: it is Linux only and fires when the *thread* that forked ends.) One byte on the pipe says that the server
was ready once; from then on a server that dies alone is started again, so that the service gets its store back
without a restart. Run by path with the standard library only, so that it starts fast and imports nothing of ours:

    guard.py LOCK_DESCRIPTOR SOCKET_FOLDER SERVER OPTION…
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

STDIN = 0
GRACE_SECONDS = 10.0
"""How long the server may take to leave by itself."""
PAUSE_SECONDS = 0.5
"""Between two starts, so that a server that cannot run does not keep a processor busy."""
PR_SET_PDEATHSIG = 1


def main(lock: int, socket_folder: str, command: list[str]) -> int:
    """Run the server until the service is gone; returns the process's exit code."""
    # Ctrl-C, a closing terminal and a service manager signal every process they find, while the service still wants
    # to finish what is in flight. Handlers, not SIG_IGN, because the server would inherit the latter.
    child_ended, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    was_ready = False
    while True:
        try:
            server = subprocess.Popen(  # noqa: S603  the command is our own
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock],  # held until the last user of the data folder is gone, also if we are killed
                preexec_fn=_end_with_parent,  # noqa: PLW1509  this process has one thread
            )
        except OSError as error:
            print(f"{command[0]} cannot be started: {error.strerror}", flush=True)  # noqa: T201  into the server's log
            return 1
        while server.poll() is None:
            readable, _, _ = select.select([STDIN, child_ended], [], [])
            if child_ended in readable:
                os.read(child_ended, 64)
            if STDIN in readable and not (was_ready := bool(os.read(STDIN, 1))):
                _end(server, socket_folder)
                return 0
        if not was_ready:
            return 1
        if select.select([STDIN], [], [], PAUSE_SECONDS)[0]:
            return 0


def _end(server: subprocess.Popen[bytes], socket_folder: str) -> None:
    server.terminate()
    try:
        server.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    with contextlib.suppress(OSError):
        os.rmdir(socket_folder)  # noqa: PTH106  pathlib alone would double the start-up time


def _end_with_parent() -> None:
    """Where the kernel offers it, the server goes too if this process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
