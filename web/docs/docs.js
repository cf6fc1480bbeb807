// Shows the description of the API and sends requests by hand.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];

// An element with attributes and children; text is always text, never markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Follows a reference within the description.
function resolve(api, value) {
  if (!value || !value.$ref) return value;
  const parts = value.$ref.replace(/^#\//, "").split("/");
  return parts.reduce((found, part) => found?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], api);
}

// A schema in one line of words.
function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) return choices.map(kind).join(" or ");
  const names = [].concat(schema.type || "any").join(" or ");
  if (schema.items) return `list of ${kind(schema.items)}`;
  return schema.format ? `${names} (${schema.format})` : names;
}

// A value as the schema wants it, for a start.
function example(api, schema, depth = 0) {
  schema = resolve(api, schema);
  if (!schema || depth > 6) return null;
  if (schema.example !== undefined) return schema.example;
  if (schema.enum) return schema.enum[0];
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) return example(api, choices.find((it) => it.type !== "null") || choices[0], depth + 1);
  const type = [].concat(schema.type)[0];
  if (type === "object" || schema.properties) {
    const fields = Object.entries(schema.properties || {});
    return Object.fromEntries(fields.map(([name, field]) => [name, example(api, field, depth + 1)]));
  }
  if (type === "array") return [example(api, schema.items, depth + 1)];
  return { string: "", integer: 0, number: 0, boolean: false }[type] ?? null;
}

function schemaOf(api, content) {
  const [type, media] = Object.entries(content || {})[0] || [];
  if (!type) return null;
  const shown = media.schema ? JSON.stringify(example(api, media.schema), null, 2) : "";
  return make("div", {}, make("code", {}, `${type} ${kind(media.schema)}`), shown ? make("pre", {}, shown) : "");
}

async function send(method, path, inputs, body, out) {
  let target = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (!input.value) continue;
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else if (parameter.in === "header") headers[parameter.name] = input.value;
  }
  const token = document.getElementById("token").value;
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  // The page lies at <prefix>/api/docs: paths of the API begin where that prefix ends.
  const base = location.pathname.replace(/\/api\/docs\/?$/, "");
  try {
    const question = query.size ? `?${query}` : "";
    const answer = await fetch(base + target + question, { method: method.toUpperCase(), headers, body: body?.value });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it came */ }
    out.textContent = `${answer.status} ${answer.statusText}\n\n${shown}`;
  } catch (error) {
    out.textContent = `no answer: ${error.message}`;
  }
}

function inside(api, method, path, operation, item) {
  const parameters = [...(item.parameters || []), ...(operation.parameters || [])].map((it) => resolve(api, it));
  const inputs = parameters.map((parameter) => ({ parameter, input: make("input", { placeholder: kind(parameter.schema) }) }));
  const rows = inputs.map(({ parameter, input }) => make("tr", {},
    make("td", {}, make("code", {}, parameter.name), ` ${parameter.in}${parameter.required ? ", required" : ""}`),
    make("td", {}, parameter.description || ""), make("td", {}, input)));
  const request = resolve(api, operation.requestBody);
  const media = Object.values(request?.content || {})[0];
  const body = media ? make("textarea", { spellcheck: "false", "aria-label": "body" }) : null;
  if (body) body.value = JSON.stringify(example(api, media.schema), null, 2);
  const answers = Object.entries(operation.responses || {}).map(([status, response]) => {
    response = resolve(api, response);
    return make("tr", {}, make("td", {}, make("code", {}, status)),
      make("td", {}, response?.description || "", schemaOf(api, response?.content) || ""));
  });
  const out = make("pre", { "aria-live": "polite", hidden: "" });
  const button = make("button", { type: "button", onclick: () => {
    out.hidden = false;
    send(method, path, inputs, body, out);
  } }, "Send");
  return make("div", { class: "inside" },
    make("p", {}, operation.description || ""),
    rows.length ? make("table", {}, make("tbody", {}, ...rows)) : null,
    body ? make("h3", {}, "Body") : null, body,
    make("h3", {}, "Answers"), make("table", {}, make("tbody", {}, ...answers)),
    make("p", {}, button), out);
}

function show(api) {
  document.getElementById("about").textContent = `${api.info.description || ""} (version ${api.info.version})`;
  const main = document.getElementById("operations");
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of methods.filter((it) => item[it])) {
      const operation = item[method];
      const details = make("details", {}, make("summary", {}, make("b", {}, method.toUpperCase()), path,
        make("span", {}, operation.summary || "")));
      details.dataset.words = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
      // Filled when it is opened: a long list stays quick.
      details.addEventListener("toggle", () => details.append(inside(api, method, path, operation, item)), { once: true });
      const tag = operation.tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, make("section", {}, make("h2", {}, tag)));
      groups.get(tag).append(details);
    }
  }
  main.replaceChildren(...groups.values());
  document.getElementById("find").addEventListener("input", ({ target }) => {
    const word = target.value.trim().toLowerCase();
    for (const section of groups.values()) {
      const all = [...section.querySelectorAll("details")];
      for (const one of all) one.hidden = !one.dataset.words.includes(word);
      section.hidden = all.every((it) => it.hidden);
    }
  });
}

fetch("openapi.json").then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById("operations").textContent = `The description cannot be read: ${error.message}`;
});
