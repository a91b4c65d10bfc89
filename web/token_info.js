// Text that a node shows: what Token Info (ZO) says of its token, and what Load Training Images (ZO)
// left out.

import { html } from "./dom.js";
import { chain } from "./graph.js";
import { text } from "./texts.js";

const MIN_HEIGHT = 140;

function addText(node, hint, label) {
  const area = html("textarea", {
    class: "comfy-multiline-input zoodip-token-info",
    readonly: "",
    spellcheck: "false",
    placeholder: hint,
    "aria-label": label,
  });
  const widget = node.addDOMWidget("zoodip_text", "zoodip_text", area, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => MIN_HEIGHT,
  });
  widget.serialize = false;
  return area;
}

export function addTokenInfo(node) {
  const area = addText(node, text("tokenInfoHint"), text("tokenInfoLabel"));
  chain(node, "onExecuted", (output) => {
    const lines = output?.zoodip_text;
    if (Array.isArray(lines)) area.value = lines.join("\n");
  });
}

/** Takes room on the node only once there is something to say. */
export function addLeftOut(node) {
  let area = null;
  chain(node, "onExecuted", (output) => {
    const lines = output?.zoodip_left_out ?? [];
    if (!area && lines.length === 0) return;
    if (!area) {
      area = addText(node, text("nothingLeftOut"), text("leftOutLabel"));
      const [width, height] = node.computeSize();
      node.setSize?.([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    }
    area.value = lines.join("\n");
  });
}
