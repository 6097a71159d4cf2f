/* The words of the pictures in the tray: a small map each, their share of the light, and what lit the spot asked about. */
import { byId, h, percent } from '../dom.js';
import { paintHeat } from './heat.js';
import { mediaNow } from './maps.js';
import { shownRow } from './view.js';

const SIDE = 44;
const FAINT = 0.015;

/** @param {ReturnType<import('./view.js').createView>} view */
export function createWords(view) {
  const { state } = view;
  const list = byId('words');
  let buttons = [];

  function build() {
    byId('lit').hidden = state.rows.length === 0;
    buttons = state.rows.map((row, index) => {
      const map = h('canvas', { width: SIDE, height: SIDE, 'aria-hidden': 'true' });
      const meter = h('span.meter', { 'aria-hidden': 'true' }, h('span'));
      const share = h('span.share');
      const button = h('button.word', { type: 'button', 'aria-pressed': 'false', dataset: { changed: String(row.changed) },
        ...showsRow(view, index) },
        map, h('span.name', {}, row.label), share, meter);
      return { button, map, meter: meter.firstChild, share };
    });
    // Small words that lit nearly nothing take little room; they are still there to be asked.
    list.replaceChildren(...buttons.map(({ button }, row) => h(state.rows[row].shares.every((share) => share !== null
      && share < FAINT) ? 'li.faint' : 'li', {}, button)));
    drawMaps();
    drawLight();
  }

  /** The picture whose maps the panel shows: the one alone, the later of two, or the first. */
  const chosen = () => state.solo ?? (state.compare ? state.pictures.length - 1 : 0);

  function drawMaps() {
    buttons.forEach(({ map }, row) => {
      const at = state.rows[row].indices[chosen()] === null ? 0 : chosen();
      const index = state.rows[row].indices[at];
      const maps = state.pictures[at] && mediaNow(state.pictures[at])?.maps;
      if (!maps || index === null) return;
      const scale = SIDE / Math.max(maps.width, maps.height);
      map.width = Math.max(1, Math.round(maps.width * scale));
      map.height = Math.max(1, Math.round(maps.height * scale));
      paintHeat(map, maps.at(index, state.step === null ? null : Math.min(state.step, maps.steps)), maps.width, maps.height);
    });
  }

  function drawLight() {
    const { spot } = state;
    const at = spot && !state.compare ? state.solo ?? spot.picture : chosen();
    const maps = state.pictures[at] && mediaNow(state.pictures[at])?.maps;
    const light = spot && maps ? maps.lightAt(spot, state.step) : null;
    const best = light ? Math.max(...light) : 0;
    byId('lit-title').textContent = light ? 'What lit this spot' : 'What each word lit';
    list.classList.toggle('asked', Boolean(light));
    buttons.forEach(({ button, meter, share }, row) => {
      const { indices, shares } = state.rows[row];
      const value = light ? (indices[at] === null ? 0 : light[indices[at]]) : shares[at];
      const most = light ? 1 : Math.max(...state.rows.map((each) => each.shares[at] ?? 0)) || 1;
      share.textContent = value === null || value === undefined ? '' : percent(value);
      meter.style.transform = `scaleX(${(value ?? 0) / most})`;
      button.classList.toggle('best', Boolean(light) && value > 0 && value === best);
    });
    document.dispatchEvent(new CustomEvent('light', { detail: light
      && { rows: state.rows.map(({ indices }) => (indices[at] === null ? 0 : light[indices[at]])) } }));
  }

  function mark() {
    const shown = shownRow(state);
    buttons.forEach(({ button }, row) => {
      button.classList.toggle('shown', row === shown);
      button.setAttribute('aria-pressed', String(row === state.pinned));
    });
  }

  view.on(['rows'], build);
  view.on(['step', 'solo'], drawMaps);
  view.on(['spot', 'step', 'solo'], drawLight);
  view.on(['hovered', 'pinned', 'rows'], mark);
}

/**
 * What makes an element show a row of the view: pointing and focus for as long as they last, a click until the next.
 * @param {ReturnType<import('./view.js').createView>} view
 * @param {number} row
 */
export function showsRow(view, row) {
  const enter = () => view.set({ hovered: row });
  const leave = () => { if (view.state.hovered === row) view.set({ hovered: null }); };
  return {
    onpointerenter: (event) => { if (event.pointerType === 'mouse') enter(); },
    onpointerleave: leave,
    onfocus: (event) => { if (event.target.matches(':focus-visible')) enter(); },
    onblur: leave,
    onclick: () => view.set({ pinned: view.state.pinned === row ? null : row }),
  };
}
