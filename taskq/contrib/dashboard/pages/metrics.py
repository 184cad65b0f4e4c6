"""The metrics of this process, for Prometheus."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.responses import Response

from taskq.contrib.dashboard.visit import Visit
from taskq.exposition import render_metrics


async def show(visit: Visit) -> Response:
    """Answer a scrape."""
    try:
        # It may wait for the database.
        content_type, text = await asyncio.to_thread(render_metrics, visit.app)
    except ImportError as error:
        raise HTTPException(501, str(error)) from None
    return Response(text, headers={"content-type": content_type})
