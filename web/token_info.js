// Token Info (ZO): shows what the node said of its token.

import { html } from "./dom.js";
import { chain } from "./graph.js";
import { text } from "./texts.js";

const MIN_HEIGHT = 140;

export function addTokenInfo(node) {
  const area = html("textarea", {
    class: "comfy-multiline-input zoodip-token-info",
    readonly: "",
    spellcheck: "false",
    placeholder: text("tokenInfoHint"),
    "aria-label": text("tokenInfoLabel"),
  });
  const widget = node.addDOMWidget("zoodip_text", "zoodip_text", area, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => MIN_HEIGHT,
  });
  widget.serialize = false;
  chain(node, "onExecuted", (output) => {
    const lines = output?.zoodip_text;
    if (Array.isArray(lines)) area.value = lines.join("\n");
  });
}
