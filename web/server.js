// The API of jobs and the package's own routes, on the ComfyUI server.

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
  if (!reply.ok) throw new ServerError(reply.status, body?.detail ?? body?.message ?? text);
  return body;
}

function send(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) });
}

/** The job `id` with its whole curve. */
export function fetchJob(id, signal) {
  return request(`/v1/jobs/${encodeURIComponent(id)}/curve`, { signal });
}

/** The job that a node of a workflow shows, with its whole curve, or null when there is none. */
export async function fetchNodeJob(node, workflow, signal) {
  const query = new URLSearchParams({ node, workflow: workflow ?? "" });
  try {
    const { jobs } = await request(`/v1/jobs?${query}`, { signal });
    return jobs.length ? await fetchJob(jobs[0].id, signal) : null;
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

/** Makes the job `id` the one that a node of a workflow shows. */
export function showJob(id, node, workflow) {
  return send("POST", `/v1/jobs/${encodeURIComponent(id)}/show`, { node, workflow: workflow ?? "" });
}

/** Ends the job `id`; the graph goes on with what was learned. */
export function stopJob(id) {
  return request(`/v1/jobs/${encodeURIComponent(id)}/stop`, { method: "POST" });
}

/** {jobs, bytes, limit_mb} of what is kept. */
export function fetchStore() {
  return request("/v1/store");
}

export function setStoreLimit(megabytes) {
  return send("POST", "/v1/store", { limit_mb: megabytes });
}

/** Forgets all jobs but those that run; answers what is left. */
export function clearStore() {
  return request("/v1/store", { method: "DELETE" });
}

/** {enabled, url, problem, decided_by_environment} of the HTTP API for scripts. */
export function fetchApiState() {
  return request("/api");
}

export function setApiEnabled(enabled) {
  return send("POST", "/api", { enabled });
}

/** Address of a preview as a job names it ("/v1/jobs/..."). */
export function previewUrl(path) {
  return api.apiURL(ROOT + path);
}
