"""A CDR receiver for Cisco Meeting Server: which license a call uses, why, and when it switched."""
