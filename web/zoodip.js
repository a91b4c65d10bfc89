// ZOODiP in the front end: the live panel, Token Info's text, Training Options, settings and a
// command.
//
// The front end imports every .js file of this folder; only this one does something when imported.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { html } from "./dom.js";
import { chain, executionIds, findNode, forEachNode } from "./graph.js";
import { apiSettings, readApiState } from "./http_api.js";
import { describeOptions, followMethod, OPTIONS, respellOptions } from "./options.js";
import { MIN_HEIGHT, TrainingPanel } from "./panel.js";
import { fetchOutputs } from "./server.js";
import { commands, menuCommands, readLimit, settings } from "./store.js";
import { loadTexts } from "./texts.js";
import { toast } from "./toast.js";
import { addLeftOut, addTokenInfo } from "./token_info.js";

const PERSONALIZE = new Set(["PersonalizeZO", "PersonalizeFromCheckpointZO"]);
const TOKEN_INFO = "TokenInfoZO";
const PICTURES = "LoadTrainingImagesZO";
const WIDGET = "zoodip_panel";
/** Space in CSS pixels that the front end leaves around a DOM widget. */
const WIDGET_MARGIN = 10;
const NEW_NODE_WIDTH = 420;
/** Where the node's outputs name the job that they came from. */
const RUN_OUTPUT = "zoodip_run";
const OURS = /ZO$/;
/** The host's own message, which has the sentence in older front ends. */
const DIALOG = ".p-dialog";
const DIALOG_MS = 400;
const ERROR_MS = 20000;

/** Panels by node: held weakly, so that a removed node takes its panel along. */
const panels = new WeakMap();

function addPanel(node) {
  const panel = new TrainingPanel(node);
  panels.set(node, panel);
  const widget = node.addDOMWidget(WIDGET, WIDGET, panel.element, {
    serialize: false,
    hideOnZoom: false,
    margin: WIDGET_MARGIN,
    getMinHeight: () => MIN_HEIGHT + 2 * WIDGET_MARGIN,
  });
  widget.serialize = false;
  forwardToCanvas(panel.element);
  chain(node, "onAdded", () => panel.attach());
  chain(node, "onRemoved", () => panel.detach());
  // Only a node that comes from a saved workflow can have run before.
  chain(node, "onConfigure", () => setTimeout(() => node.graph && panel.reload()));
  chain(node, "onExecuted", (output) => panel.showCached(output?.[RUN_OUTPUT]?.[0]));
  node.setSize?.([Math.max(node.size[0], NEW_NODE_WIDTH), node.computeSize()[1]]);
}

/** Zooming by wheel and panning by middle button work over the panel as beside it. */
function forwardToCanvas(element) {
  const forward = (type, method, wanted) => {
    const listener = (event) => {
      // Nodes drawn by Vue hand these on themselves.
      if (window.LiteGraph?.vueNodesMode || !wanted(event)) return;
      if (type === "wheel") event.preventDefault();
      app.canvas?.[method]?.(event);
    };
    element.addEventListener(type, listener, { passive: false });
  };
  forward("wheel", "processMouseWheel", () => true);
  forward("pointerdown", "processMouseDown", (event) => event.button === 1);
  forward("pointermove", "processMouseMove", (event) => (event.buttons & 4) === 4);
  forward("pointerup", "processMouseUp", (event) => event.button === 1);
}

/** Prompts that this page queued: the host tells of their begin to it alone. */
const ownPrompts = new Set();

function onStart({ detail }) {
  if (detail?.prompt_id) ownPrompts.add(detail.prompt_id);
}

function onProgress({ detail }) {
  if (!detail?.graph) return; // of a script
  const { node, prompt } = detail.graph;
  panels.get(findNode(node))?.update(detail, ownPrompts.has(prompt));
}

function onCached({ detail }) {
  for (const id of detail?.nodes ?? []) panels.get(findNode(id))?.noteCached();
}

/** Older hosts name the job of a cached result in the prompt's history alone. */
async function onSuccess({ detail }) {
  const waiting = [];
  forEachNode((node) => panels.get(node)?.awaitsJob && waiting.push(node));
  if (!waiting.length) return;
  const outputs = await fetchOutputs(detail?.prompt_id);
  for (const node of waiting) {
    const found = executionIds(node).map((id) => outputs[id]?.[RUN_OUTPUT]?.[0]);
    panels.get(node)?.showCached(found.find(Boolean));
  }
}

/** Newer front ends show no more than that a node failed. */
function onError({ detail }) {
  const { node_type: type, exception_message: message } = detail ?? {};
  if (!OURS.test(type ?? "") || !message) return;
  setTimeout(() => {
    if (!document.querySelector(DIALOG)) toast("error", message.trim(), ERROR_MS);
  }, DIALOG_MS);
}

function linkStyles() {
  const href = new URL("./zoodip.css", import.meta.url).href;
  document.head.append(html("link", { rel: "stylesheet", href }));
}

/** ComfyUI's own previews are for apps and scripts: on the node the panel shows the same picture. */
function leavePreviewsToPanel(node) {
  node.hideOutputImages = true;
  // Front ends that do not know that draw them here.
  node.onDrawBackground = () => {};
}

app.registerExtension({
  name: "ZOODiP",
  settings: [...settings, ...apiSettings],
  commands,
  menuCommands,
  async init() {
    linkStyles();
    await loadTexts();
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name === OPTIONS) describeOptions(nodeData);
  },
  async setup() {
    respellOptions(app);
    api.addEventListener("zoodip.progress", onProgress);
    api.addEventListener("execution_start", onStart);
    api.addEventListener("execution_cached", onCached);
    api.addEventListener("execution_success", onSuccess);
    api.addEventListener("execution_error", onError);
    // Events sent while the connection was down are lost: ask for the whole again.
    api.addEventListener("reconnected", () => forEachNode((node) => panels.get(node)?.reload()));
    await Promise.all([readLimit(), readApiState()]);
  },
  nodeCreated(node) {
    if (PERSONALIZE.has(node.comfyClass)) {
      addPanel(node);
      leavePreviewsToPanel(node);
    } else if (node.comfyClass === TOKEN_INFO) addTokenInfo(node);
    else if (node.comfyClass === OPTIONS) followMethod(node);
    else if (node.comfyClass === PICTURES) addLeftOut(node);
  },
});
