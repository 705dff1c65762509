"""What is unsafe about a store's own settings: what could make it lose what it acknowledged.

Meanings of the settings: https://valkey.io/topics/valkey.conf and https://valkey.io/topics/persistence
"""

from collections.abc import Mapping

OLDEST_VERSION = "7.0"
SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")

_SYNC_LOSS = {
    "everysec": "syncs it to disk once a second, so a crash of its machine can lose the last seconds",
    "no": "leaves syncing to the operating system, so a crash of its machine can lose half a minute or more",
}


def unsafe_settings(where: str, version: str | None, settings: Mapping[str, str]) -> list[str]:
    """One sentence for each thing that is unsafe; an empty list where the store is as the promise needs it.

    `where` names the server, `version` is what it says of itself, `settings` are the values of `SETTINGS`; None and
    missing values are what the server does not tell.
    """
    sentences = []
    if version is not None and _parts(version) < _parts(OLDEST_VERSION):
        sentences.append(f"The store {where} has version {version}, but {OLDEST_VERSION} or newer is needed.")
    if any(name not in settings for name in SETTINGS):
        sentences.append(
            f"The store {where} does not tell its settings (CONFIG GET), so it could not be checked: make sure that"
            " it has maxmemory-policy noeviction, appendonly yes and appendfsync always, or what the provider offers"
            " in their place."
        )
        return sentences
    policy, append_only, sync = (settings[name] for name in SETTINGS)
    if policy != "noeviction":
        sentences.append(
            f"The store {where} may evict keys (maxmemory-policy {policy}), so records that were acknowledged can"
            " vanish: set maxmemory-policy noeviction."
        )
    if append_only != "yes":
        sentences.append(
            f"The store {where} keeps no append-only file (appendonly {append_only}), so a crash or restart of it can"
            " lose all that was acknowledged since its last snapshot: set appendonly yes and appendfsync always."
        )
    elif sync != "always":
        loss = _SYNC_LOSS.get(sync, "does not sync it before it answers")
        sentences.append(
            f"The store {where} has an append-only file but {loss} (appendfsync {sync}): set appendfsync always."
        )
    return sentences


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
