"""Speed, measured side by side in one run on one machine, as ratios. `python -m bench` runs everything."""
