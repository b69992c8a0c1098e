"""The application: one model, its endpoints, and what every request passes on the way.

AccessLog -> CORS -> RefuseWhenDraining -> ApiKeys -> BodyLimit -> an endpoint
"""

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware

from fulmen.server import chat_completions, compaction, completions, health, models, responses, web_page
from fulmen.server.auth import ApiKeys
from fulmen.server.errors import install_error_handlers
from fulmen.server.limits import AccessLog, BodyLimit, Gate, RefuseWhenDraining
from fulmen.server.metrics import ServerMetrics
from fulmen.server.response_store import ResponseStore
from fulmen.server.served_model import ServedModel, ServerOptions


def create_app(served: ServedModel, options: ServerOptions | None = None) -> FastAPI:
    """Build the application.

    Args:
        served: the model; its service must run already and is not stopped by the application.
        options: limits and doors; None is an open server with the default limits.
    """
    options = options or ServerOptions()
    gate = Gate()
    metrics = ServerMetrics(served.name, served.service.stats)
    middleware = [Middleware(AccessLog, gate=gate, metrics=metrics)]
    if options.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=options.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("*",),
            )
        )
    middleware += [
        Middleware(RefuseWhenDraining, gate=gate),
        Middleware(ApiKeys, keys=options.api_keys),
        Middleware(BodyLimit, max_bytes=options.max_body_bytes),
    ]
    app = FastAPI(title="Fulmen", summary="An open MiniMax-M1 behind OpenAI's API", middleware=middleware)
    app.state.served = served
    app.state.options = options
    app.state.gate = gate
    app.state.metrics = metrics
    app.state.responses = ResponseStore(
        max_responses=options.max_stored_responses, max_characters=options.max_stored_characters
    )
    install_error_handlers(app)
    for module in (chat_completions, completions, responses, compaction, models, health, web_page):
        app.include_router(module.router)
    return app
