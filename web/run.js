// What the page knows of one node's job: the last it heard and the loss curve.

/** Above this many points every second one is dropped; the panel is a few hundred pixels wide. */
const MAX_POINTS = 2000;

const RUNNING = new Set(["queued", "running"]);
/** Stages of a running job before which steps are not made. */
const STEPPING = new Set(["training", "stopping"]);

function isPoint(point) {
  return Array.isArray(point) && point.length >= 2 && point.slice(0, 2).every(Number.isFinite);
}

export class RunModel {
  /** The job as the server told it last, without its points; null before the first. */
  info = null;
  /** [[step, loss, smoothed loss or null], ...] with ascending steps. */
  points = [];
  /** [[step, loss of the fixed samples], ...] with ascending steps. */
  validations = [];
  /** For each fetch under way, the events since it began: its answer must not undo them. */
  #fetches = new Set();

  get running() {
    return RUNNING.has(this.info?.state);
  }

  get training() {
    return this.info?.state === "running" && STEPPING.has(this.info.stage);
  }

  /**
   * Takes an event. Returns true when it belongs to a job whose earlier points are not here,
   * so that the whole curve has to be fetched.
   */
  applyEvent(payload) {
    const { points = [], validations, ...info } = payload;
    const known = this.info?.id === info.id;
    if (!known) this.points = this.validations = [];
    this.info = info;
    this.#validated(validations);
    const fresh = points.filter(isPoint);
    this.#append(fresh);
    for (const since of this.#fetches) {
      if (since.id !== info.id) since.points = [];
      since.id = info.id;
      since.points.push(...fresh);
    }
    const first = fresh.length ? fresh[0][0] : Infinity;
    return !known && info.step > 0 && first > 1;
  }

  /** To be called before a fetch; what it returns goes to `applyWhole` with the answer. */
  expectWhole() {
    const since = { id: null, points: [] };
    this.#fetches.add(since);
    return since;
  }

  /** Takes the answer of a fetch: a payload with all points. Null leaves things as they are. */
  applyWhole(since, payload) {
    this.#fetches.delete(since);
    if (!payload) return;
    const { points = [], validations, ...info } = payload;
    // Another job began meanwhile: the answer is about the past.
    if (since.id !== null && since.id !== info.id) return;
    if (since.id === null) {
      this.info = info;
      this.validations = [];
    }
    if (!this.validations.length) this.#validated(validations);
    this.points = [];
    this.#append(points.filter(isPoint));
    this.#append(since.points);
  }

  /** Every payload that tells of them has them all. */
  #validated(validations) {
    if (Array.isArray(validations)) this.validations = validations.filter(isPoint);
  }

  /** A job that goes back (started again, or resumed from a checkpoint) replaces what lay ahead. */
  #append(points) {
    for (const point of points) {
      while (this.points.length && this.points.at(-1)[0] >= point[0]) this.points.pop();
      this.points.push(point);
    }
    if (this.points.length > MAX_POINTS) {
      const last = this.points.length - 1;
      this.points = this.points.filter((_, index) => index % 2 === 0 || index === last);
    }
  }
}
