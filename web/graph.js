// Nodes of the open workflow and the ids under which the server runs them.

import { app } from "../../scripts/app.js";

/** The outermost graph, also while a subgraph is open. */
export function rootGraph() {
  const graph = app.rootGraph ?? app.graph;
  return graph?.rootGraph ?? graph;
}

export function workflowId() {
  return String(rootGraph()?.id ?? "");
}

function nodesOf(graph) {
  return graph?.nodes ?? graph?._nodes ?? [];
}

/** The node the server calls `executionId`: "12", or "5:3" for node 3 in the subgraph of node 5. */
export function findNode(executionId) {
  let graph = rootGraph();
  let node;
  for (const id of String(executionId).split(":")) {
    node = nodesOf(graph).find((candidate) => String(candidate.id) === id);
    if (!node) return undefined;
    graph = node.subgraph;
  }
  return node;
}

/** Every id under which the server may run `node`: several when its subgraph is used twice. */
export function executionIds(node) {
  const found = [];
  const walk = (graph, path) => {
    for (const candidate of nodesOf(graph)) {
      const here = [...path, String(candidate.id)];
      if (candidate === node) found.push(here.join(":"));
      if (candidate.subgraph) walk(candidate.subgraph, here);
    }
  };
  walk(rootGraph(), []);
  return found;
}

/** The text in a node's widget; null where there is none, or where a wire brings it instead. */
export function widgetText(node, name) {
  const wired = node.inputs?.find((input) => (input.widget?.name ?? input.name) === name);
  if (wired && wired.link !== null && wired.link !== undefined) return null;
  const value = node.widgets?.find((widget) => widget.name === name)?.value;
  return typeof value === "string" ? value : null;
}

/** Calls `visit` for each node of the workflow, those in subgraphs included, each once. */
export function forEachNode(visit) {
  const seen = new Set();
  const walk = (graph) => {
    for (const node of nodesOf(graph)) {
      if (seen.has(node)) continue;
      seen.add(node);
      visit(node);
      if (node.subgraph) walk(node.subgraph);
    }
  };
  walk(rootGraph());
}

/** Runs `added` after whatever `target[name]` does already. */
export function chain(target, name, added) {
  const before = target[name];
  target[name] = function (...args) {
    const result = before?.apply(this, args);
    added.apply(this, args);
    return result;
  };
}
