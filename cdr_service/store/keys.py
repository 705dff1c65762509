"""Every key in the store and how long it lives. All keys of a deployment share one hash tag.

So a commit is one atomic script on a single server and on Redis Cluster alike, and deployments spread over a cluster.
A deployment's name holds no braces (the settings see to that), and it stands before everything that comes from the
wire, so nothing from the wire can change the hash tag.
"""

from typing import Final

from cdr_service.domain.workspace import HEARD, LEGS_OF, OPEN_IN, Key

INDEXES: Final = (LEGS_OF, OPEN_IN)
"""Kinds of keys that hold sets of ids rather than things."""


class Keys:
    """The names of one deployment's keys."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self.prefix = f"cdr:{{{deployment}}}:"
        self.layout = self.prefix + "layout"
        """String: the version of the layout, or `1>2` while it is brought from one to the next. For good."""
        self.live = self.prefix + "live"
        """Sorted set of the ids of live calls by start (milliseconds)."""
        self.ended = self.prefix + "ended"
        """Sorted set of the ids of ended calls by end (milliseconds). Until retention removes the call."""
        self.heard = self.prefix + "heard"
        """Sorted set of live calls by when a record of theirs was last received: for calls that never end."""
        self.loose = self.prefix + "loose"
        """Sorted set of legs and recordings that are on no call, as `kind:id`, by when they were heard of. Until
        retention removes them."""
        self.expiring = self.prefix + "expiring"
        """Sorted set of ended calls by when their end was received: retention counts from there."""
        self.switches = self.prefix + "switches"
        """Sorted set of `meeting|time|session|number` by the time of a transition from one license to another."""
        self.usage = self.prefix + "usage"
        """Hash of what is in use now; a field that falls to 0 is removed."""
        self.history_hours = self.prefix + "history:hours"
        """Hash of settled hours: by how much each changes what is in use, and when it was settled; the field `before`
        has the sum of those that retention removed."""
        self.history_peaks = self.prefix + "history:peaks"
        """Hash of the peaks of the minutes of each settled hour. Until retention removes the hour."""
        self.history_steps = self.prefix + "history:steps"
        """Hash of the steps of each settled hour, compressed. Until retention removes the hour."""
        self.history_fresh = self.prefix + "history:fresh"
        """Hash of the hours that have steps which are not settled, with how many commits brought them."""
        self.bridges = self.prefix + "bridges"
        """Set of bridge ids. Until retention has removed every session of the bridge."""
        self.duplicates = self.prefix + "duplicates"
        """Hash of how many duplicates each bridge sent, by its id, as far as it was written. As long as the bridge."""
        self.sessions = self.prefix + "sessions"
        """Sorted set of session ids by when a record was last received. Until retention removes the session."""
        self.ending = self.prefix + "ending"
        """Set of replaced sessions whose calls are not all ended yet, or gone on with. Until they are."""
        self.events = self.prefix + "events"
        """Stream of events, bounded by count (setting event_max)."""
        self.dead_letters = self.prefix + "dead"
        """Stream of dead letters, bounded by count (setting dead_letter_max)."""
        self.documents = self.prefix + "raw"
        """Stream of received documents, compressed, bounded by age and size (settings raw_...)."""
        self.counts = self.prefix + "counts"
        """Hash of counts: the bytes that the received documents take, compressed, what went from the streams (see
        below), and how many users hold PMP+. For good."""
        self.printers = self.prefix + "printers"
        """Hash of who prints events, as `process.generation`, with the last event that each has printed. Until its
        orderly end, or until another process has printed the rest."""
        self.server_directory = self.prefix + "server-directory"
        """String: the directory as the Meeting Server told it last, without the holders file. For good."""
        self.fence = self.prefix + "fence"
        """String that says nothing: written to find out whether the replicas have all that was written before it."""

    def thing(self, key: Key) -> str:
        """Return the name of a stored thing or an index.

        The directory and what was set aside last live for good, all else until retention removes it (`domain.upkeep`).
        """
        return self.prefix + ":".join(key)

    def fresh_steps(self, hour: int) -> str:
        """Return the name of the steps of an hour that are not settled: a hash of changes by `milliseconds series`.

        Until they are settled, which is soon after the hour.
        """
        return f"{self.prefix}history:fresh:{hour}"

    def spans(self, length: int) -> str:
        """Return the name of the list of meetings that took licenses for so long (see `domain.history.LENGTHS`).

        A sorted set of ids by when they began to. Until retention removes the meeting.
        """
        return f"{self.prefix}spans:{length}"

    def read(self, key: Key) -> tuple[str, ...]:
        """Return the command that reads what a key names."""
        if key[0] == HEARD:
            return "ZSCORE", self.heard, key[1]
        return "SMEMBERS" if key[0] in INDEXES else "GET", self.thing(key)

    def found(self, what: str) -> str:
        """Return the name of what was found by the Meeting Server's API: `reconciliation`, `fit`, `nodes` or `past`.

        A string, for good: where the comparison with its own counts stands, how well the policies fit these, what its
        nodes say of the collection of their CDRs, and what it says was in use in the last days (`domain.past.KEPT`).
        """
        return f"{self.prefix}found:{what}"

    def alive(self, process: str) -> str:
        """Return the name of the sign of life of a process: its generation, a string that expires within seconds."""
        return f"{self.prefix}alive:{process}"

    def lease(self, task: str) -> str:
        """Return the name of the lease for a task that must run once: a string that expires within seconds."""
        return f"{self.prefix}lease:{task}"


def removed_from(stream: str) -> str:
    """Return the name of the count of entries that were removed from a stream by age or by hand."""
    return f"{stream}:removed"


def dropped_from(stream: str) -> str:
    """Return the name of the count of entries that went because a stream was full, as far as it was told."""
    return f"{stream}:dropped"
