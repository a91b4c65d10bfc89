// The package's own routes on the ComfyUI server.

import { api } from "../../scripts/api.js";

const ROOT = "/zoodip";

/** An answer that is not 2xx; `status` is the HTTP status. */
export class ServerError extends Error {
  constructor(status, text) {
    super(text || `HTTP ${status}`);
    this.status = status;
  }
}

/** The message of an error, to be set into a sentence. */
export function reasonOf(error) {
  return String(error?.message ?? error).trim().replace(/\.$/, "");
}

async function request(path, options) {
  const reply = await api.fetchApi(ROOT + path, options);
  const text = await reply.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // Errors may come as plain text.
  }
  if (!reply.ok) throw new ServerError(reply.status, body?.error ?? body?.message ?? text);
  return body;
}

function send(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) });
}

/** The run `key` with its whole curve. */
export function fetchRun(key, signal) {
  return request(`/runs/${encodeURIComponent(key)}`, { signal });
}

/** The last run of a node of a workflow with its whole curve, or null when there is none. */
export async function fetchNodeRun(node, workflow, signal) {
  const query = workflow ? `?workflow=${encodeURIComponent(workflow)}` : "";
  try {
    return await request(`/nodes/${encodeURIComponent(node)}${query}`, { signal });
  } catch (error) {
    if (error instanceof ServerError) return null;
    throw error;
  }
}

/** How often, and with what pause in ms, a prompt's history is asked for: it comes after its end. */
const HISTORY_TRIES = 10;
const HISTORY_PAUSE_MS = 200;

/** The outputs that the host keeps of a prompt, by execution id; none where it says nothing. */
export async function fetchOutputs(prompt) {
  for (let asked = 0; asked < HISTORY_TRIES; asked += 1) {
    const reply = await api.fetchApi(`/history/${encodeURIComponent(prompt)}`);
    const entry = reply.ok ? (await reply.json())[prompt] : undefined;
    if (entry) return entry.outputs ?? {};
    await new Promise((done) => setTimeout(done, HISTORY_PAUSE_MS));
  }
  return {};
}

/** Makes the run `key` the one that a node of a workflow showed last. */
export function rememberNodeRun(node, workflow, key) {
  return send("POST", `/nodes/${encodeURIComponent(node)}`, { workflow, run: key });
}

/** Ends the training of run `key`; the graph goes on with what was learned. */
export function stopRun(key) {
  return request(`/runs/${encodeURIComponent(key)}/stop`, { method: "POST" });
}

/** {runs, bytes, limit_mb} of the store of finished trainings. */
export function fetchStore() {
  return request("/store");
}

export function setStoreLimit(megabytes) {
  return send("POST", "/store", { limit_mb: megabytes });
}

/** Forgets all trainings but the running one; answers what is left. */
export function clearStore() {
  return request("/store", { method: "DELETE" });
}

/** {enabled, url, problem, decided_by_environment} of the HTTP API for scripts. */
export function fetchApiState() {
  return request("/api");
}

export function setApiEnabled(enabled) {
  return send("POST", "/api", { enabled });
}

/** Address of a preview named by a run's payload ("/zoodip/runs/..."). */
export function previewUrl(path) {
  return api.apiURL(path);
}
