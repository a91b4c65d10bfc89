// Training Options (ZO): the settings that only some methods look at, and graphs and prompts that
// spell them as another version of the host does.
//
// A newer host folds them into the method, as `method.n`; an older one has them beside it, as `n`,
// and here those that the method does not look at are hidden.

import { chain } from "./graph.js";

export const OPTIONS = "TrainingOptionsZO";
const METHOD = "method";
const PREFIX = `${METHOD}.`;
/** Space between rows of widgets in units of the canvas. */
const ROW_GAP = 4;
/** The first of the settings that joined the node after graphs had been saved with it. */
const FIRST_YOUNGER = "take";
/** Where a saved node keeps the names that its list of values belongs to. */
const NAMES = "zoodip_names";

/** The node as the server describes it, once it is known. */
let described = { order: [], folded: false, methods: {} };

const plain = (name) => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);

/** Takes the server's description: the order of the settings, and which methods look at which. */
export function describeOptions({ input }) {
  const inputs = { ...input?.required, ...input?.optional };
  const folded = inputs[METHOD]?.[0] === "COMFY_DYNAMICCOMBO_V3";
  const methods = {};
  const order = [];
  for (const [name, [, spec]] of Object.entries(inputs)) {
    order.push(name);
    if (spec?.methods) methods[name] = spec.methods;
    for (const option of (folded && name === METHOD && spec.options) || []) {
      for (const [own, [, about]] of Object.entries(namesOf(option))) {
        methods[own] = about.methods;
        if (!order.includes(own)) order.push(own);
      }
    }
  }
  described = { order, folded, methods };
}

function namesOf(option) {
  return { ...option.inputs?.required, ...option.inputs?.optional };
}

function looksAt(method, name) {
  return !(name in described.methods) || described.methods[name].includes(method);
}

/** The settings that a host which folds them in has for a method, in their order. */
function foldedOrder(method) {
  return described.order.filter((name) => looksAt(method, name));
}

/**
 * Names of a saved list of values: as it says itself, else by how many there are. Such a list may
 * lack the settings that came later, which stand at the end.
 */
function namesOfSaved({ widgets_values: values, [NAMES]: names }) {
  if (Array.isArray(names) && names.length === values.length) return names;
  const folded = foldedOrder(values[described.order.indexOf(METHOD)]);
  for (const order of [described.order, folded]) {
    const oldest = order.indexOf(FIRST_YOUNGER);
    if (values.length > oldest && values.length <= order.length) return order.slice(0, values.length);
  }
  return null;
}

/** A saved node in the spelling of this host; what it cannot tell stays as it is. */
function respelled(info, defaults) {
  if (!Array.isArray(info?.widgets_values)) return info;
  const names = namesOfSaved(info);
  if (!names) return info;
  const values = Object.fromEntries(names.map((name, at) => [name, info.widgets_values[at]]));
  const method = values[METHOD];
  const order = described.folded ? foldedOrder(method) : described.order;
  const widgets = order.map((name) => (name in values ? values[name] : defaults[name]));
  const inputs = info.inputs
    ?.map((input) => respelledInput(input, method))
    .filter((input) => input.link != null || looksAt(method, plain(input.name)));
  return { ...info, widgets_values: widgets, ...(inputs && { inputs }) };
}

function spellingOf(name, method) {
  const bare = plain(name);
  if (!(bare in described.methods)) return name;
  return described.folded && looksAt(method, bare) ? PREFIX + bare : bare;
}

function respelledInput(input, method) {
  const name = spellingOf(input.name, method);
  if (name === input.name) return input;
  return { ...input, name, ...(input.widget && { widget: { ...input.widget, name } }) };
}

/** Widgets that the method does not look at are hidden, and advanced ones until asked for. */
function fold(node) {
  const method = node.widgets?.find((widget) => widget.name === METHOD)?.value;
  for (const widget of node.widgets ?? []) {
    if (!described.folded) widget.hidden = !looksAt(method, widget.name);
    if (widget.advanced ?? widget.options?.advanced) foldAdvanced(widget);
    // A canvas keeps the rows of what it does not show.
    if (node.isWidgetVisible?.(widget) ?? true) delete widget.computeSize;
    else widget.computeSize = noRow;
  }
}

/** Front ends heed this of nodes drawn by Vue, and forget it, each in its way, on a canvas. */
function foldAdvanced(widget) {
  widget.advanced = true;
  const surfaces = widget.visibility?.surfaces;
  if (surfaces) surfaces.canvas = "advanced";
}

/** A row's own height takes the space between rows back. */
function noRow() {
  return [0, -ROW_GAP];
}

function fit(node) {
  node.setSize?.([node.size[0], node.computeSize()[1]]);
  node.setDirtyCanvas?.(true, true);
}

/** Makes a node follow its method, and read and write lists of values by name. */
export function followMethod(node) {
  const written = () => (node.widgets ?? []).filter((widget) => widget.serialize !== false);
  const defaults = Object.fromEntries(written().map((w) => [plain(w.name), w.value]));
  const configure = node.configure;
  node.configure = function (info, ...rest) {
    const result = configure.call(this, respelled(info, defaults), ...rest);
    fold(this);
    return result;
  };
  chain(node, "onSerialize", (info) => {
    info[NAMES] = written().map((widget) => plain(widget.name));
  });
  const method = node.widgets?.find((widget) => widget.name === METHOD);
  const follow = () => {
    fold(node);
    fit(node);
  };
  if (method) chain(method, "callback", follow);
  chain(node, "toggleAdvanced", follow);
  // A node from a file gets its own size after this.
  chain(node, "onAdded", follow);
}

/** Prompts in the API format are read in either spelling too. */
export function respellOptions(app) {
  const load = app.loadApiJson;
  if (typeof load !== "function") return;
  app.loadApiJson = function (prompt, ...rest) {
    return load.call(this, respelledPrompt(prompt), ...rest);
  };
}

function respelledPrompt(prompt) {
  const nodes = Object.entries(prompt ?? {}).map(([id, node]) => {
    if (node?.class_type !== OPTIONS || !node.inputs) return [id, node];
    const { [METHOD]: method, ...others } = node.inputs;
    const inputs = { [METHOD]: method };
    for (const [name, value] of Object.entries(others)) inputs[spellingOf(name, method)] = value;
    return [id, { ...node, inputs }];
  });
  return Object.fromEntries(nodes);
}
