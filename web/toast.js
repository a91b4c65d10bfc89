// Short messages in the front end's corner.

import { app } from "../../scripts/app.js";
import { text } from "./texts.js";

/** severity: success, info, warn or error. life: milliseconds that it stays. */
export function toast(severity, detail, life = 6000) {
  app.extensionManager?.toast?.add({ severity, summary: text("title"), detail, life });
}
