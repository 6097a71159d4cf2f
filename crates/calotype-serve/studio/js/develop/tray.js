/* The tray: one to four prints, or two of the same noise side by side. */
import { announce, byId, calm, h, percent } from '../dom.js';
import { changes } from './align.js';
import { media, mediaNow } from './maps.js';
import { createPrint } from './print.js';
import { shownRow } from './view.js';

/** A small model takes a fifth of a second; its previews are shown no faster than an eye can follow. */
const LEAST_FRAME = 55;
/** Whatever waits to be shown, a finished picture is not held back longer than this. */
const LONGEST_DELAY = 1500;

/** @param {ReturnType<import('./view.js').createView>} view */
export function createTray(view) {
  const tray = byId('tray');
  const { state } = view;
  let prints = [];
  let playing = null;

  const on = {
    onspot(spot) {
      view.set({ spot });
      if (spot?.keys) sayWhatLit(spot);
    },
    onopen(index) {
      if (state.pictures.length < 2 || state.compare || state.developing) return;
      view.set({ solo: state.solo === null ? index : null, spot: null });
    },
  };

  function lay(count) {
    prints = Array.from({ length: count }, (_, index) => createPrint(index, on));
    tray.dataset.count = String(count);
    tray.replaceChildren(...prints.map((print) => print.element));
  }

  function sayWhatLit(spot) {
    const maps = mediaNow(state.pictures[state.solo ?? spot.picture] ?? {})?.maps;
    if (!maps) return;
    const light = maps.lightAt(spot, state.step);
    const best = [...light.keys()].sort((a, b) => light[b] - light[a]).slice(0, 3).filter((index) => light[index] > 0.01);
    announce(best.length ? best.map((index) => `${maps.words[index].word} ${percent(light[index])}`).join(', ')
      : 'no word above the others');
  }

  /** Finished pictures, all at once: from the history, or a comparison. */
  async function show() {
    byId('stage').dataset.state = state.pictures.length ? 'finished' : 'empty';
    if (!state.pictures.length) {
      tray.replaceChildren(byId('empty') ?? empty);
      return;
    }
    const shown = state.solo === null ? state.pictures : [state.pictures[state.solo]];
    // Prints that hold these pictures already stay: they have just developed here.
    if (prints.length !== shown.length || shown.some((picture, index) => prints[index].picture?.id !== picture.id)) {
      lay(shown.length);
      shown.forEach((picture, index) => prints[index].finish(picture, label(picture, index), 0));
    }
    shown.forEach((picture, index) => prints[index].write(...tag(picture, index)));
    draw();
    await Promise.all(shown.map((picture) => media(picture)));
    draw();
  }

  const empty = byId('empty');

  function label(picture, index) {
    const which = state.pictures.length > 1 ? `Picture ${index + 1} of ${state.pictures.length}: ` : 'Picture: ';
    return `${which}${picture.prompt || 'no prompt'}. Arrow keys move a spot that tells which words lit it.`;
  }

  function tag(picture, index) {
    if (!state.compare) return state.pictures.length > 1 && state.solo === null ? [h('span.number', {}, String(index + 1))] : [];
    const parts = changes(state.pictures[0].prompt, state.pictures[1].prompt);
    const words = parts.map((part) => (index === 0 ? part.gone : part.come)).filter(Boolean);
    return [h('span.which', {}, index === 0 ? 'before' : 'after'), h('span', {}, words.length ? words.join(', ') : picture.prompt)];
  }

  function draw() {
    const row = shownRow(state);
    prints.forEach((print, at) => {
      const index = state.solo ?? at;
      const word = row === null ? null : state.rows[row]?.indices[index] ?? null;
      // Pictures of one noise are asked about one spot together.
      const asked = state.spot && (state.compare || state.spot.picture === at) ? state.spot : null;
      print.draw({ word, step: state.step, spot: asked });
    });
  }

  view.on(['pictures', 'solo', 'compare'], () => { if (!state.developing) show(); });
  view.on(['hovered', 'pinned', 'step', 'spot', 'rows'], draw);

  return {
    /** Sheets for a job that begins; `beside` stays as the first of two. */
    begin(count, width, height, prompt, beside) {
      playing?.stop();
      const before = beside ? 1 : 0;
      lay(count + before);
      if (beside) {
        prints[0].finish(beside, `Before: ${beside.prompt}`, 0);
        prints[0].write(h('span.which', {}, 'before'));
      }
      for (const print of prints.slice(before)) print.wait(width, height, `Developing: ${prompt}`);
      byId('stage').dataset.state = 'developing';
      playing = player(prints.slice(before));
    },
    /** Previews of a step, one for each picture. @param {string[]} urls of those that have one */
    step(urls) { playing?.add(urls); },
    /** Plays what waits, then puts the finished pictures in place. @param {object[]} pictures */
    async finish(pictures) {
      const mine = prints.slice(prints.length - pictures.length);
      await playing?.drained();
      if (mine[0] !== prints[prints.length - pictures.length]) return;
      await Promise.all(pictures.map((picture, index) => mine[index].finish(picture, label(picture, index))));
    },
    /** A job that ended early: the tray is as it was before. */
    abandon() {
      playing?.stop();
      prints = [];
      show();
    },
  };
}

/* Of which picture a preview is: a large batch is drawn in parts, and a step has those of its part alone. */
const pictureOf = (url) => Number(/\/previews\/(\d+)/.exec(url)?.[1] ?? 0);

/* Shows previews one after the other, none shorter than an eye can follow. */
function player(prints) {
  const waiting = [];
  let stopped = false;
  let running = null;
  const pause = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

  async function play() {
    while (waiting.length && !stopped) {
      const urls = waiting.shift();
      const frame = Math.min(LEAST_FRAME, LONGEST_DELAY / (waiting.length + 1));
      await Promise.all([pause(calm() ? 0 : frame),
        ...urls.map((url) => Promise.race([prints[pictureOf(url)]?.preview(url, frame * 1.6), pause(frame * 3)]))]);
    }
    running = null;
  }

  return {
    add(urls) {
      waiting.push(urls);
      running ??= play();
    },
    async drained() {
      await Promise.race([running, pause(LONGEST_DELAY)]);
      stopped = true;
    },
    stop() { stopped = true; },
  };
}
