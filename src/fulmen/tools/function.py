"""Python functions as tools: the schema from type hints, the descriptions from the docstring.

pydantic reads the hints, docstring-parser the text (Google's, numpy's and reST's way of writing arguments).
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, get_type_hints

from docstring_parser import parse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from fulmen.tools.threads import in_thread
from fulmen.tools.tool import Tool, ToolError

_FIRST = ("type", "description", "properties", "required")
_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_DATA = ("const", "enum", "default", "examples")


def tool_from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    dangerous: bool = False,
    timeout: float | None = None,
) -> Tool:
    """Make a tool of a function.

    An ordinary function runs in a thread, a coroutine function on the loop. Parameters need type hints that pydantic
    understands; `Annotated[int, Field(ge=1)]` limits a value further. What the docstring says of a parameter becomes
    its description. `ToolError` tells the model what to do instead.

    Example::

        def get_weather(city: str, days: int = 1) -> str:
            '''Weather of a city.

            Args:
                city: its name in English.
                days: how many days ahead.
            '''

        tool_from_function(get_weather).parameters["properties"]["days"]
        # {"type": "integer", "default": 1, "description": "how many days ahead."}

    Raises:
        ValueError: a parameter has no type hint, or one that no JSON schema can be made of; it names the parameter.
    """
    called = name or getattr(function, "__name__", "")
    if not called or called == "<lambda>":
        raise ValueError("a tool of a function without a name needs name=")
    text = parse(inspect.getdoc(function) or "")
    said = {parameter.arg_name: parameter.description for parameter in text.params}
    model = _arguments_model(function, called, said)
    try:
        parameters = plain_schema(model.model_json_schema())
    except PydanticUserError as error:
        raise ValueError(f"no JSON schema can be made of the parameters of {called}: {error.message}") from error
    parameters.setdefault("properties", {})
    if description is None:
        description = "\n\n".join(part for part in (text.short_description, text.long_description) if part)
    return Tool(
        name=called,
        description=description,
        parameters=parameters,
        run=partial(_run, function, model),
        dangerous=dangerous,
        timeout=timeout,
    )


def plain_schema(schema: Any) -> Any:
    """A JSON schema in the order that people write (and models have seen), without the titles that generators put
    everywhere: they repeat names and cost tokens.
    """
    if isinstance(schema, list):
        return [plain_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            result[key] = {name: plain_schema(child) for name, child in value.items()}
        elif key in _DATA:
            result[key] = value
        elif not (key == "title" and isinstance(value, str)):
            result[key] = plain_schema(value)
    first = [key for key in _FIRST if key in result]
    return {key: result[key] for key in dict.fromkeys([*first, *result])}


async def _run(function: Callable[..., Any], model: type[BaseModel], arguments: Mapping[str, Any]) -> object:
    try:
        checked = model.model_validate(arguments)
    except ValidationError as error:
        raise ToolError("; ".join(map(_complaint, error.errors(include_url=False)))) from None
    given = {field.alias: getattr(checked, key) for key, field in model.model_fields.items() if field.alias}
    if inspect.iscoroutinefunction(function):
        return await function(**given)
    return await in_thread(partial(function, **given))


def _complaint(error: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    return f"arguments{place}: {error['msg']}"


def _arguments_model(function: Callable[..., Any], called: str, said: Mapping[str, str | None]) -> type[BaseModel]:
    """A pydantic model with a field for each parameter. Fields are numbered and the parameters' names are aliases, as
    some names (`copy`, `json`, `_x`) would be taken by pydantic itself.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ValueError(f"the type hints of {called} can't be read: {error}") from error
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"{called} takes {parameter}, which has no name that a model could give it by")
        if parameter.name not in hints:
            raise ValueError(f"parameter {parameter.name} of {called} needs a type hint")
        default = ... if parameter.default is parameter.empty else parameter.default
        field = Field(default, alias=parameter.name, description=said.get(parameter.name))
        fields[f"parameter_{index}"] = (Annotated[hints[parameter.name], field], default)
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticSchemaGenerationError as error:
        raise ValueError(f"the parameters of {called} can't be described: {error.message}") from error
