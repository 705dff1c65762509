"""The bare aiohttp server that every figure is measured against: it reads the body and answers 200."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def _answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response()


async def _main() -> None:
    runner = web.ServerRunner(web.Server(_answer), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


uvloop.run(_main())
