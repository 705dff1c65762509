"""The pure core: records, calls, identity and license rules. No I/O, no clock; time is an argument."""
