/** The tools that a reader describes to the model, as JSON: read and checked before the server sees them. */

/** Shown to whoever has not written one yet. */
export const EXAMPLE = JSON.stringify(
  [
    {
      name: "get_weather",
      description: "The weather of a city, now.",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, unit: { enum: ["celsius", "fahrenheit"] } },
        required: ["city"],
      },
    },
  ],
  null,
  2,
);

/** Read the text; returns `{ tools, problem }`, of which one is null. No text is no tools. */
export function readTools(text) {
  if (!text.trim()) return { tools: [], problem: null };
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { tools: null, problem: `This is no JSON: ${error.message}` };
  }
  if (!Array.isArray(value)) return { tools: null, problem: "Tools are a list: begin with [ and end with ]." };
  for (const [index, tool] of value.entries()) {
    const problem = problemOf(tool?.function ?? tool);
    if (problem) return { tools: null, problem: `Tool ${index + 1} ${problem}` };
  }
  const tools = value.map((tool) => ({ type: "function", function: tool.function ?? tool }));
  const names = tools.map((tool) => tool.function.name);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  return twice ? { tools: null, problem: `Two tools are called ${twice}.` } : { tools, problem: null };
}

function problemOf(tool) {
  if (tool === null || typeof tool !== "object" || Array.isArray(tool)) return "is no object.";
  if (typeof tool.name !== "string" || !tool.name) return "has no name.";
  if (tool.parameters !== undefined && (tool.parameters === null || typeof tool.parameters !== "object")) {
    return "has parameters that are no JSON schema.";
  }
  return null;
}
