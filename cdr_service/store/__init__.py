"""The store: Redis or Valkey behind the service's protocols, and the server that we start where none is configured."""
