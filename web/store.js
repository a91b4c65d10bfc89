// The store of finished trainings: its size limit as a setting, and a command to clear it.

import { app } from "../../scripts/app.js";
import { formatMegabytes } from "./format.js";
import { clearStore, fetchStore, reasonOf, setStoreLimit } from "./server.js";
import { text } from "./texts.js";
import { toast } from "./toast.js";

const SETTING = "ZOODiP.Store.SizeLimit";
const COMMAND = "ZOODiP.ClearFinishedTrainings";
const MIN_MB = 16;
const MAX_MB = 65536;
/** Typing "1024" passes 1, 10 and 102: only what stands this long (ms) is sent. */
const SETTLE_MS = 500;

/** What the server has; null until it is known. Nothing is sent before. */
let serverLimit = null;
let timer = 0;

function onLimitChange(value, before) {
  clearTimeout(timer);
  // The front end calls this when it registers the setting too, with no value before.
  if (before === undefined || serverLimit === null || value === serverLimit) return;
  if (!Number.isFinite(value) || value < MIN_MB || value > MAX_MB) return;
  timer = setTimeout(() => sendLimit(Math.round(value)), SETTLE_MS);
}

async function sendLimit(value) {
  try {
    serverLimit = (await setStoreLimit(value))?.limit_mb ?? value;
  } catch (error) {
    toast("error", text("limitFailed", { reason: reasonOf(error) }));
  }
}

/** The server's limit is the truth; the setting only shows it. */
export async function readLimit() {
  try {
    const store = await fetchStore();
    if (!Number.isFinite(store?.limit_mb)) return;
    serverLimit = store.limit_mb;
    await app.extensionManager?.setting?.set(SETTING, serverLimit);
  } catch {
    // No routes: the setting stays what it is and nothing is sent.
  }
}

async function confirmed(message) {
  const dialog = app.extensionManager?.dialog;
  if (!dialog?.confirm) return window.confirm(message);
  return dialog.confirm({ title: text("clear.title"), message, type: "delete" });
}

async function clear() {
  try {
    const before = await fetchStore();
    const values = { runs: before.jobs, megabytes: formatMegabytes(before.bytes) };
    if (!before.jobs) return toast("info", text("clear.nothing"));
    if (!(await confirmed(text("clear.question", values)))) return;
    const after = await clearStore();
    const freed = formatMegabytes(Math.max(0, before.bytes - after.bytes));
    toast("success", text("clear.done", { runs: before.jobs - after.jobs, megabytes: freed }));
  } catch (error) {
    toast("error", text("clear.failed", { reason: reasonOf(error) }));
  }
}

export const settings = [
  {
    id: SETTING,
    category: ["ZOODiP", "Store", "SizeLimit"],
    name: "Size limit (MB)",
    tooltip:
      "Finished trainings are kept so that an unchanged graph never trains twice. " +
      "Above this size the oldest are forgotten.",
    type: "number",
    attrs: { min: MIN_MB, max: MAX_MB, step: 16 },
    defaultValue: 256,
    onChange: onLimitChange,
  },
];

export const commands = [
  {
    id: COMMAND,
    label: "ZOODiP: Clear finished trainings",
    menubarLabel: "Clear finished trainings",
    icon: "pi pi-trash",
    function: clear,
  },
];

export const menuCommands = [{ path: ["ZOODiP"], commands: [COMMAND] }];
