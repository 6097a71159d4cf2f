/* The steps as a strip of film with a slider on it: the rightmost place is the finished print. */
import { byId, calm, setIcon } from '../dom.js';
import { shortcut } from '../shortcuts.js';
import { mediaNow, stepsOf } from './maps.js';

const FRAME = 40;
/** Milliseconds of a step when the steps are played. */
const BEAT = 140;

/** @param {ReturnType<import('./view.js').createView>} view */
export function createScrubber(view) {
  const { state } = view;
  const [slider, film, text, play] = [byId('step'), byId('film'), byId('step-text'), byId('play')];
  let timer = null;

  const shown = () => {
    const picture = state.pictures[state.solo ?? state.pictures.length - 1];
    return picture ? mediaNow(picture) : null;
  };
  const steps = () => stepsOf(shown());

  function show() {
    const count = steps();
    byId('scrubber').hidden = count < 2;
    if (count < 2) return;
    slider.max = String(count + 1);
    slider.value = String(state.step ?? count + 1);
    const word = state.step === null ? 'Print' : `Step ${state.step} of ${count}`;
    text.textContent = word;
    slider.setAttribute('aria-valuetext', state.step === null ? 'finished print, maps of all steps' : word);
    film.hidden = !shown()?.strip;
    drawFilm(count);
  }

  function drawFilm(count) {
    const width = film.clientWidth;
    const ratio = devicePixelRatio || 1;
    if (!width) return;
    film.width = Math.round(width * ratio);
    film.height = Math.round(FRAME * ratio);
    const context = film.getContext('2d');
    context.scale(ratio, ratio);
    const images = shown()?.strip;
    const cell = width / (count + 1);
    const frames = Math.min(count, Math.max(1, Math.floor((width - cell) / (FRAME * 0.7))));
    const span = (width - cell) / frames;
    for (let frame = 0; images && frame < frames; frame += 1) {
      const step = Math.min(count, Math.round((frame + 0.5) * (count / frames) + 0.5));
      cover(context, images, step, frame * span, span - 1);
    }
    if (images) cover(context, images, count, width - cell, cell);
  }

  /* A frame of the film: the middle of the preview, cut to the cell. */
  function cover(context, images, step, x, width) {
    context.save();
    context.beginPath();
    context.rect(x, 0, width, FRAME);
    context.clip();
    const scale = Math.max(width / images.width, FRAME / images.height);
    images.draw(context, step, steps(), x + (width - images.width * scale) / 2, (FRAME - images.height * scale) / 2,
      images.width * scale, images.height * scale);
    context.restore();
  }

  function go(step) {
    const count = steps();
    if (count < 2) return;
    view.set({ step: step > count ? null : Math.max(1, step) });
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    setIcon(play, 'play');
  }

  function toggle() {
    if (timer) { stop(); return; }
    if (steps() < 2) return;
    setIcon(play, 'pause');
    if (state.step === null) go(1);
    timer = setInterval(() => {
      if (state.step === null || steps() < 2) stop();
      else go(state.step + 1);
    }, calm() ? BEAT * 4 : BEAT);
  }

  slider.addEventListener('input', () => { stop(); go(Number(slider.value)); });
  play.addEventListener('click', toggle);
  const nudge = (by) => () => {
    if (steps() < 2) return false;
    stop();
    go((state.step ?? steps() + 1) + by);
    return undefined;
  };
  shortcut('develop', 'ArrowLeft', '', nudge(-1));
  shortcut('develop', 'ArrowRight', '', nudge(1));
  shortcut('develop', 'p', 'play the steps', () => (steps() < 2 ? false : toggle()));
  view.on(['pictures', 'rows', 'step', 'solo'], show);
  view.on(['pictures', 'developing'], stop);
  new ResizeObserver(() => { if (!byId('scrubber').hidden) drawFilm(steps()); }).observe(film);
  return { refresh: show, hide() { byId('scrubber').hidden = true; } };
}
