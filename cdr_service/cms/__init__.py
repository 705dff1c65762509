"""The Meeting Server's REST API: what a deployment says of its users, spaces and live calls."""
