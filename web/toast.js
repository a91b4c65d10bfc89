// Short messages in the front end's corner.

import { app } from "../../scripts/app.js";
import { text } from "./texts.js";

/** severity: success, info, warn or error. */
export function toast(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: text("title"), detail, life: 6000 });
}
