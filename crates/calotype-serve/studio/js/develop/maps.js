/* What belongs to a picture beside its pixels: the words' maps of every step, and the strip of previews. */
import { get } from '../api.js';
import { sample } from './heat.js';

/** Pictures whose maps stay in memory: those of a tray, and the ones looked at before. */
const KEPT = 16;
const cache = new Map();

/**
 * @typedef {object} Media
 * @property {Maps|null} maps
 * @property {Strip|null} strip
 */

/** Maps of one picture. */
class Maps {
  constructor(about, data) {
    this.width = about.grid.width;
    this.height = about.grid.height;
    this.steps = about.steps;
    this.words = about.words;
    this.texts = about.texts;
    this.data = data;
  }

  /** The map of a word at a step from 1, or the final one for null. @returns {Uint8Array} */
  at(word, step) {
    const size = this.width * this.height;
    const index = (step === null ? 0 : step) * this.words.length + word;
    return this.data.subarray(index * size, (index + 1) * size);
  }

  /** Which part of the words' light at a place is each word's. @returns {number[]} they sum to 1, or are all 0 */
  lightAt({ x, y }, step) {
    const values = this.words.map((word, index) => this.strength(word, index, x, y, step));
    const sum = values.reduce((a, b) => a + b, 0);
    return values.map((value) => (sum > 0 ? value / sum : 0));
  }

  strength(word, index, x, y, step) {
    if (step !== null) return sample(this.at(index, step), this.width, this.height, x, y);
    // Final maps have a scale each; with their peaks they can be compared.
    if (Number.isFinite(word.peak)) return word.peak * sample(this.at(index, null), this.width, this.height, x, y);
    let sum = 0;
    for (let each = 1; each <= this.steps; each += 1) sum += sample(this.at(index, each), this.width, this.height, x, y);
    return sum;
  }
}

/** The previews of all steps, side by side in one image. */
class Strip {
  constructor(image, steps) {
    this.image = image;
    this.steps = steps;
    this.width = image.naturalWidth / steps;
    this.height = image.naturalHeight;
  }

  /**
   * Draws the preview of a step from 1. Of larger pictures not every step was kept: it is then the next one that was.
   * @param {CanvasRenderingContext2D} context @param {number} step @param {number} of all steps
   */
  draw(context, step, of, x, y, width, height) {
    const at = Math.min(this.steps, Math.max(1, Math.ceil((step / of) * this.steps - 1e-9))) - 1;
    context.drawImage(this.image, at * this.width, 0, this.width, this.height, x, y, width, height);
  }
}

/** Into how many steps a picture can be taken apart. @param {Media|null} media */
export const stepsOf = (media) => media?.maps?.steps ?? media?.strip?.steps ?? 0;

/** What is already there of a picture. @param {object} picture @returns {Media|null} */
export function mediaNow(picture) {
  const kept = cache.get(picture.id);
  return kept?.now ?? null;
}

/** Fetches maps and strip of a picture; either may not exist. @param {object} picture @returns {Promise<Media>} */
export function media(picture) {
  const known = cache.get(picture.id);
  if (known) {
    cache.delete(picture.id);
    cache.set(picture.id, known);
    return known.promise;
  }
  const entry = { now: null, promise: null };
  entry.promise = Promise.all([fetchMaps(picture), fetchStrip(picture)]).then(([maps, strip]) => {
    entry.now = { maps, strip };
    return entry.now;
  });
  cache.set(picture.id, entry);
  if (cache.size > KEPT) cache.delete(cache.keys().next().value);
  return entry.promise;
}

async function fetchMaps(picture) {
  if (!picture.word_maps) return null;
  try {
    const about = await get(`/api/pictures/${picture.id}/maps`);
    const data = new Uint8Array(await get(about.maps, { as: 'buffer' }));
    const expected = (1 + about.steps) * about.words.length * about.grid.width * about.grid.height;
    return about.words.length > 0 && data.length === expected ? new Maps(about, data) : null;
  } catch {
    return null;
  }
}

async function fetchStrip(picture) {
  if (!picture.steps_kept) return null;
  const image = new Image();
  image.src = `/api/pictures/${picture.id}/strip.png`;
  try {
    await image.decode();
    return new Strip(image, picture.steps_kept);
  } catch {
    return null;
  }
}
