"""`/health` for whoever sends traffic here, `/metrics` for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fulmen.server.limits import Gate

router = APIRouter()


@router.get("/health", response_model=None)
async def health(request: Request) -> Response:
    """Return 200 while new requests are taken, 503 once the server drains or its engine has died."""
    gate: Gate = request.app.state.gate
    status = "failed" if gate.engine_failed else "draining" if gate.draining else "ok"
    return JSONResponse({"status": status}, 200 if status == "ok" else 503)


@router.get("/metrics", response_model=None)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    content, media_type = request.app.state.metrics.exposition()
    return Response(content, media_type=media_type)
