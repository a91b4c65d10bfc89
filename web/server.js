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

/** Ends the training of run `key`; the graph goes on with what was learned. */
export function stopRun(key) {
  return request(`/runs/${encodeURIComponent(key)}/stop`, { method: "POST" });
}

/** {runs, bytes, limit_mb} of the store of finished trainings. */
export function fetchStore() {
  return request("/store");
}

export function setStoreLimit(megabytes) {
  return request("/store", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ limit_mb: megabytes }),
  });
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
  return request("/api", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ enabled }),
  });
}

/** Address of a preview named by a run's payload ("/zoodip/runs/..."). */
export function previewUrl(path) {
  return api.apiURL(path);
}
