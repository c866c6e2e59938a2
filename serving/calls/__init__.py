"""What the clients are made of: connections, retries, requests and answers, for blocking and asyncio callers alike.

Everything a client does is written once, as coroutines over a `Transport`. Over the asyncio transport they run in the
caller's event loop; over the blocking one they never suspend, and run to their end in one step.
"""
