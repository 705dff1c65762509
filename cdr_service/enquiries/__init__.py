"""What the service asks of the Meeting Server's REST API, when, and how the answers get into the books."""
