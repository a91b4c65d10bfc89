// The live panel of the Personalize nodes.

import { api } from "../../scripts/api.js";
import { LossCurve } from "./curve.js";
import { html, setText } from "./dom.js";
import { formatCount, formatLoss, formatSeconds, formatSpeed } from "./format.js";
import { executionIds, widgetText, workflowId } from "./graph.js";
import { RunModel } from "./run.js";
import * as server from "./server.js";
import { text } from "./texts.js";

/** Height of the panel in CSS pixels below which it never gets; zoodip.css has the same. */
export const MIN_HEIGHT = 330;

function figure(label) {
  const value = html("dd", {}, "\u2013");
  return { value, element: html("div", {}, html("dt", {}, label), value) };
}

function button(name, action) {
  const attributes = { type: "button", class: `zoodip-${name}` };
  const element = html("button", attributes, text(`${name}.label`));
  element.title = text(`${name}.tooltip`);
  element.addEventListener("click", action);
  return element;
}

export class TrainingPanel {
  #node;
  #model = new RunModel();
  #curve = new LossCurve();
  #frame = 0;
  #fetches = new AbortController();
  /** The job whose stop was asked for and that has not ended yet. */
  #asked = { id: null, text: "" };
  /** The host had this node's result and did not run it; no payload tells of it. */
  #cached = false;
  /** Address of the preview that is shown or being fetched. */
  #previewUrl = "";
  #parts;

  constructor(node) {
    this.#node = node;
    this.element = this.#build();
    this.#render();
  }

  #build() {
    const parts = {
      state: html("strong", { class: "zoodip-state" }),
      stage: html("span", { class: "zoodip-stage" }),
      message: html("p", { class: "zoodip-message" }),
      steps: html("span", { class: "zoodip-steps" }),
      passes: html("span", { class: "zoodip-passes" }),
      products: html("span", { class: "zoodip-products" }),
      progress: html("progress", { max: "1", value: "0", "aria-label": text("progressLabel") }),
      speed: figure(text("speed")),
      left: figure(text("timeLeft")),
      loss: figure(text("smoothedLoss")),
      best: figure(text("bestWord")),
      caption: html("figcaption", {}, text("noPreview")),
      share: html("span", { class: "zoodip-share" }),
      stop: button("stop", () => this.#stop()),
      cancel: button("cancel", () => this.#cancel()),
    };
    this.#parts = parts;
    parts.preview = html("figure", { class: "zoodip-preview" }, parts.caption);
    const line = html("div", { class: "zoodip-line" }, parts.state, parts.stage);
    const live = { class: "zoodip-status", role: "status", "aria-live": "polite" };
    const shown = [parts.speed, parts.left, parts.loss, parts.best];
    const figures = shown.map(({ element }) => element);
    parts.best.element.title = text("bestTooltip");
    parts.passes.title = text("passesTooltip");
    return html(
      "section",
      { class: "zoodip-panel", "aria-label": text("panelLabel") },
      html(
        "header",
        { class: "zoodip-head" },
        html("div", live, line, parts.message),
        html("div", { class: "zoodip-count" }, parts.steps, parts.passes, parts.products),
      ),
      parts.progress,
      html("dl", { class: "zoodip-figures" }, ...figures),
      html("div", { class: "zoodip-body" }, this.#curve.element, parts.preview),
      html("footer", { class: "zoodip-foot" }, parts.stop, parts.cancel, parts.share),
    );
  }

  attach() {
    this.#fetches = new AbortController();
    this.#curve.attach();
  }

  detach() {
    this.#fetches.abort();
    this.#curve.detach();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  /**
   * Takes the payload of a "zoodip.progress" event of a node of this number. One of another graph
   * is left alone: of a script, whose prompts name no workflow, or of a copy of this workflow that
   * learns another word. ours: this page queued the prompt.
   */
  update(payload, ours) {
    const { workflow } = payload.graph;
    if (!workflow || String(workflow) !== workflowId()) return;
    const shown = this.#model.info?.id === payload.id;
    if (!shown && !ours && !this.#isAbout(payload)) return;
    if (this.#model.applyEvent(payload)) {
      this.#load((signal) => server.fetchJob(payload.id, signal));
    }
    this.#cached = false;
    this.#schedule();
  }

  /** Whether a job is of the word that stands on the node; a wired word may be any. */
  #isAbout(job) {
    const word = widgetText(this.#node, "word");
    return word === null || word.trim() === job.word;
  }

  /** Whether the host had the result; the job that it is of may not be the one shown. */
  get awaitsJob() {
    return this.#cached;
  }

  /** The host took this node's result from its own cache. */
  noteCached() {
    this.#cached = true;
    this.#schedule();
  }

  /**
   * The host named the job that its cached result is of, which another copy of the node may have
   * trained.
   */
  async showCached(id) {
    if (!this.#cached || !id || this.#model.info?.id === id) return;
    await this.#load(async (signal) => {
      const job = await server.fetchJob(id, signal);
      return { ...job, reused: true, message: text("cached") };
    });
    const [node] = executionIds(this.#node);
    if (this.#model.info?.id !== id || node === undefined) return;
    // For the next time this workflow is opened.
    await server.showJob(id, node, workflowId()).catch(() => {});
  }

  /** Asks the server for the last job of this node: after a reload, or when events were missed. */
  reload() {
    return this.#load(async (signal) => {
      for (const id of executionIds(this.#node)) {
        const job = await server.fetchNodeJob(id, workflowId(), signal);
        if (job && this.#isAbout(job)) return job;
      }
      return null;
    });
  }

  async #load(fetchWhole) {
    const { signal } = this.#fetches;
    const since = this.#model.expectWhole();
    let whole = null;
    try {
      whole = await fetchWhole(signal);
    } catch {
      // A server without these routes, or one that went away: the panel shows what it has.
    }
    this.#model.applyWhole(since, whole);
    if (!signal.aborted) this.#schedule();
  }

  #schedule() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render() {
    const info = this.#model.info ?? {};
    const asked = this.#model.running && this.#asked.id === info.id;
    if (!asked) this.#asked = { id: null, text: "" };
    this.#renderStatus(info, asked);
    this.#renderFigures(info);
    this.#renderPreview(info);
    this.#curve.setPoints(this.#model.points, this.#model.validations);
    this.#parts.stop.disabled = !this.#model.training || asked;
    this.#parts.cancel.disabled = !this.#model.running || asked;
  }

  #renderStatus(info, asked) {
    const { state, stage, message } = this.#parts;
    const name = this.#stateName(info);
    this.element.dataset.state = name;
    setText(state, text(`state.${name}`));
    const named = info.word ? text("learning", { word: info.word }) : "";
    // Before the training, what is being done says more than the word.
    const prepares = this.#model.running && !this.#model.training;
    setText(stage, prepares ? (info.stage ?? "") : named);
    setText(message, (asked ? this.#asked.text : info.message) || this.#hint(info));
    message.title = message.textContent;
  }

  /** What is said of a job's state: a running one prepares before it trains. */
  #stateName({ state, reused }) {
    if (!state) return this.#cached ? "reused" : "idle";
    if (this.#model.running) return this.#model.training ? "training" : "preparing";
    if (state === "cancelled") return "interrupted";
    return reused && state === "finished" ? "reused" : state;
  }

  /** What there is to say when the job itself has no message. */
  #hint(info) {
    if (!info.id) return text(this.#cached ? "cached" : "hint");
    if (!this.#model.running || !Number.isFinite(info.foretold)) return "";
    return text("foretold", { time: formatSeconds(info.foretold) });
  }

  #renderFigures(info) {
    const { steps, passes, products, progress, speed, left, loss, best } = this.#parts;
    const values = { step: formatCount(info.step ?? 0), steps: formatCount(info.steps ?? 0) };
    setText(steps, info.steps ? text("stepOf", values) : "");
    const made = Number.isFinite(info.passes);
    setText(passes, made ? text("passes", { count: formatCount(info.passes) }) : "");
    setText(products, info.compute ? text("products", { type: info.compute }) : "");
    products.title = info.compute_choice || text("productsTooltip");
    // A progress element without a value is one of unknown length.
    progress.max = info.steps || 1;
    progress.value = Math.min(info.step ?? 0, progress.max);
    progress.setAttribute("aria-valuemin", 0);
    progress.setAttribute("aria-valuemax", progress.max);
    progress.setAttribute("aria-valuenow", progress.value);
    progress.setAttribute("aria-valuetext", text("stepOf", values));
    setText(speed.value, formatSpeed(info.speed));
    setText(left.value, this.#model.training ? formatSeconds(info.seconds_left ?? NaN) : "\u2013");
    setText(loss.value, formatLoss(info.smooth_loss ?? info.loss ?? NaN));
    const known = Number.isFinite(info.best_step);
    setText(best.value, known ? text("stepAt", { step: formatCount(info.best_step) }) : "\u2013");
  }

  #renderPreview(info) {
    const { preview, share } = this.#parts;
    const percent = info.graph?.preview_percent;
    const known = Number.isFinite(percent);
    const words = () =>
      percent > 0 ? text("previewShare", { percent: +percent.toFixed(1) }) : text("previewOff");
    setText(share, known ? words() : "");
    preview.hidden = !info.preview && known && percent <= 0;
    const url = info.preview ? server.previewUrl(info.preview.url) : "";
    if (url === this.#previewUrl) return;
    this.#previewUrl = url;
    if (!url) this.#showImage(null, text("noPreview"));
    else this.#fetchImage(url, formatCount(info.preview.step), info.word ?? "");
  }

  /** The old picture stays until the new one is here, so that nothing flickers. */
  #fetchImage(url, step, word) {
    const alt = text("previewLabel", { step, word });
    const image = html("img", { alt, draggable: "false" });
    const settle = (shown, caption) => {
      if (this.#previewUrl === url) this.#showImage(shown, caption);
    };
    image.addEventListener("load", () => settle(image, text("previewStep", { step })));
    image.addEventListener("error", () => settle(null, text("noPreview")));
    image.src = url;
  }

  #showImage(image, caption) {
    const { preview, caption: captionPart } = this.#parts;
    setText(captionPart, caption);
    preview.replaceChildren(...(image ? [image] : []), captionPart);
    preview.classList.toggle("zoodip-has-image", Boolean(image));
  }

  async #stop() {
    await this.#ask("stop", (info) => server.stopJob(info.id));
  }

  async #cancel() {
    await this.#ask("cancel", (info) => api.interrupt(info.graph?.prompt || null));
  }

  /** Buttons stay off from the click until the run ends, or until the request fails. */
  async #ask(name, send) {
    const info = this.#model.info;
    if (!info || !this.#model.running) return;
    this.#asked = { id: info.id, text: text(`${name}.asked`) };
    this.#render();
    try {
      await send(info);
    } catch (error) {
      this.#asked = { id: null, text: "" };
      const message = text(`${name}.failed`, { reason: server.reasonOf(error) });
      this.#model.info = { ...this.#model.info, message };
      this.#render();
    }
  }
}
