"""The use cases that only read: what the query API answers. They know neither HTTP nor Redis.

`queries` answers about calls, meetings and licenses, `history` and `reports` about their use over time, `collection`
about the Call Bridges that push and about what could not be taken in; `gathering` fetches what they show in few round
trips, `paging` cuts lists into pages.
"""
