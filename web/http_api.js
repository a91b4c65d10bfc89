// The HTTP API for scripts: a setting that turns it on and off in the server.

import { app } from "../../scripts/app.js";
import { fetchApiState, reasonOf, setApiEnabled } from "./server.js";
import { text } from "./texts.js";
import { toast } from "./toast.js";

const SETTING = "ZOODiP.HttpApi.Enabled";

/** What the server has; null until it is known. Nothing is sent before. */
let serverHas = null;

function report(state) {
  if (state.problem) return toast("error", text("api.failed", { reason: state.problem }));
  if (state.decided_by_environment) return toast("warn", text("api.environment"));
  if (state.url) toast("success", text("api.on", { url: state.url }));
  else toast("info", text("api.off"));
}

async function onChange(value, before) {
  // The front end calls this when it registers the setting too, with no value before.
  if (before === undefined || serverHas === null || value === serverHas) return;
  try {
    const state = await setApiEnabled(Boolean(value));
    serverHas = state.enabled;
    report(state);
  } catch (error) {
    toast("error", text("api.failed", { reason: reasonOf(error) }));
  }
}

/** The server's state is the truth; the setting only shows it. */
export async function readApiState() {
  try {
    serverHas = (await fetchApiState()).enabled;
    await app.extensionManager?.setting?.set(SETTING, serverHas);
  } catch {
    // No routes: the setting stays what it is and nothing is sent.
  }
}

export const apiSettings = [
  {
    id: SETTING,
    category: ["ZOODiP", "HttpApi", "Enabled"],
    name: "HTTP API for scripts",
    tooltip:
      "Programs on this machine can then queue trainings, follow and stop them, and fetch the " +
      "words; the README says how. Trainings of graphs and of scripts wait for each other.",
    type: "boolean",
    defaultValue: false,
    onChange,
  },
];
