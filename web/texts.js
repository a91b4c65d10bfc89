// The package's texts in the language of the front end, from locales/<language>/main.json.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const FALLBACK = "en";
let tables = [];

/** Loads the texts; without them `text` answers with the keys. */
export async function loadTexts() {
  try {
    const reply = await api.fetchApi("/i18n");
    const all = reply.ok ? await reply.json() : {};
    const locale = app.extensionManager?.setting?.get("Comfy.Locale") ?? FALLBACK;
    tables = [all[locale]?.zoodip, all[FALLBACK]?.zoodip].filter(Boolean);
  } catch {
    tables = [];
  }
}

/** The text at the dotted `key`, with each {name} replaced by `values.name`. */
export function text(key, values = {}) {
  for (const table of tables) {
    const found = key.split(".").reduce((node, part) => node?.[part], table);
    if (typeof found === "string") {
      return found.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
    }
  }
  return key;
}
