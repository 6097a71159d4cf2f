/* One picture in the tray: it develops, it can be lit by a word, taken back to a step, and asked about a spot. */
import { calm, h } from '../dom.js';
import { paintHeat } from './heat.js';
import { mediaNow, stepsOf } from './maps.js';

/** Pixels along the longer side in which maps are painted; the page enlarges them smoothly. */
const HEAT_SIDE = 192;

/**
 * @param {number} index its number in the tray
 * @param {{onspot: function(object|null), onopen: function(number), ondescribe: function(): string}} on
 */
export function createPrint(index, on) {
  const base = h('div.base');
  const frame = h('canvas.frame', { hidden: true });
  const heat = h('canvas.heat', { hidden: true });
  const reticle = h('span.reticle', { hidden: true });
  const surface = h('div.surface', { tabIndex: 0, role: 'img', 'aria-label': 'Developing' }, base, frame, heat, reticle);
  const tag = h('figcaption');
  const element = h('figure.print', {}, surface, tag);
  let picture = null;
  let spot = null;

  function setShape(width, height) {
    element.style.setProperty('--ratio', `${width} / ${height}`);
    element.style.setProperty('--tall', String(height / width));
    const scale = HEAT_SIDE / Math.max(width, height);
    heat.width = Math.max(1, Math.round(width * scale));
    heat.height = Math.max(1, Math.round(height * scale));
  }

  /* Each preview comes up over the one before, as a print does in its bath. */
  async function show(url, fade) {
    const image = new Image();
    image.alt = '';
    image.draggable = false;
    image.src = url;
    try { await image.decode(); } catch { return; }
    base.append(image);
    const older = [...base.children].slice(0, -1);
    if (!fade || calm()) {
      older.forEach((old) => old.remove());
      return;
    }
    await image.animate([{ opacity: 0 }, { opacity: 1 }], { duration: fade, easing: 'ease-out' }).finished.catch(() => {});
    older.forEach((old) => old.remove());
  }

  function place(event) {
    const box = surface.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    return x >= 0 && x < 1 && y >= 0 && y < 1 ? { x, y, picture: index } : null;
  }

  surface.addEventListener('pointermove', (event) => { if (event.pointerType === 'mouse') on.onspot(place(event)); });
  surface.addEventListener('pointerleave', (event) => { if (event.pointerType === 'mouse') on.onspot(null); });
  surface.addEventListener('pointerdown', (event) => { if (event.pointerType !== 'mouse') on.onspot(place(event)); });
  surface.addEventListener('click', (event) => { if (event.detail === 2 || event.pointerType === 'mouse') on.onopen(index); });
  surface.addEventListener('blur', () => on.onspot(null));
  surface.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === 'Enter') on.onopen(index);
    if (!by || !picture) return;
    event.preventDefault();
    event.stopPropagation();
    const maps = mediaNow(picture)?.maps;
    const [columns, rows] = maps ? [maps.width, maps.height] : [16, 16];
    const from = spot ?? { x: 0.5 - 0.5 / columns, y: 0.5 - 0.5 / rows };
    const clamp = (value) => Math.min(0.999, Math.max(0.001, value));
    on.onspot({ x: clamp(from.x + by[0] / columns), y: clamp(from.y + by[1] / rows), picture: index, keys: true });
  });

  return {
    element,
    surface,
    setShape,
    get picture() { return picture; },

    /** Before the first preview: a sheet in the tray. */
    wait(width, height, label) {
      picture = null;
      setShape(width, height);
      element.classList.add('developing');
      surface.setAttribute('aria-label', label);
    },

    /** A preview of a step. */
    preview(url, fade) { return show(url, fade); },

    /** The finished print. */
    async finish(done, label, fade = 260) {
      picture = done;
      setShape(done.width, done.height);
      surface.setAttribute('aria-label', label);
      await show(done.image, fade);
      element.classList.remove('developing');
    },

    /** @param {Node[]} content what is written below */
    write(...content) { tag.replaceChildren(...content); },

    /** Draws what the view says. @param {{word: number|null, step: number|null, spot: object|null}} what */
    draw({ word, step, spot: asked }) {
      spot = asked;
      reticle.hidden = !asked;
      if (asked) {
        reticle.style.left = `${100 * asked.x}%`;
        reticle.style.top = `${100 * asked.y}%`;
      }
      const media = picture && mediaNow(picture);
      const strip = media?.strip;
      frame.hidden = step === null || !strip;
      if (!frame.hidden) {
        frame.width = strip.width;
        frame.height = strip.height;
        strip.draw(frame.getContext('2d'), step, stepsOf(media), 0, 0, strip.width, strip.height);
      }
      const maps = media?.maps;
      heat.hidden = word === null || !maps;
      element.classList.toggle('lit-up', !heat.hidden);
      if (!heat.hidden) paintHeat(heat, maps.at(word, step === null ? null : Math.min(step, maps.steps)), maps.width, maps.height);
    },
  };
}
