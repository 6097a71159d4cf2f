/* The room Train: runs on the left, one of them, a new training, or a look at data on the right. */
import { ago, bytes, h, icon } from '../dom.js';
import { get } from '../api.js';
import { complain } from '../dialogs.js';
import { shortcut } from '../shortcuts.js';
import { showData } from './data.js';
import { showForm } from './form.js';
import { showRun } from './run.js';

/** How often runs that others write are looked at again, in milliseconds. */
const PULSE = 10000;

/** Fills the room. @param {HTMLElement} room @returns {{enter: function(string[])}} */
export function open(room) {
  const list = h('ul.runs', { 'aria-label': 'Runs, the last changed first' });
  const note = h('p.fine.note', {}, 'Loading …');
  const pane = h('div.pane', { tabIndex: -1 });
  const fresh = h('a.button', { href: '#train/new' }, icon('plus'), 'New training');
  const look = h('a.button.quiet', { href: '#train/data' }, icon('eye'), 'Look at data');
  const layout = h('div.with-rail', {},
    h('div.rail', {}, h('h1.rail-title', {}, 'Runs'), h('div.rail-deeds', {}, fresh, look), list, note),
    pane);
  room.append(layout);

  let runs = [];
  let status = null;
  /** Runs whose curves are drawn beside the chosen one's. */
  const beside = new Set();
  let at = [];
  let shown = null;
  let timer;

  async function refresh() {
    clearTimeout(timer);
    try {
      [{ runs }, status] = await Promise.all([get('/api/runs'), status ?? get('/api/status')]);
      fill();
      shown?.pulse?.(runs);
    } catch (error) {
      note.textContent = error.status ? error.message : 'The server does not answer.';
    }
    if (!room.hidden) timer = setTimeout(refresh, PULSE);
  }

  function fill() {
    note.textContent = runs.length ? (runs.length > 1 ? 'A tick draws a run’s curves beside those of the open one.' : '')
      : status.runs_folder
      ? `No runs in ${status.runs_folder} yet. A training makes one.` : 'This server was started without a folder of runs.';
    fresh.hidden = !status.training_allowed;
    runs.sort((a, b) => b.changed - a.changed);
    const focused = document.activeElement?.closest?.('.runs li')?.dataset.run;
    const inBox = document.activeElement?.type === 'checkbox';
    list.replaceChildren(...runs.map(item));
    if (focused) list.querySelector(`li[data-run="${CSS.escape(focused)}"] ${inBox ? 'input' : 'a'}`)?.focus();
    mark();
  }

  function item(run) {
    const colour = [...beside].indexOf(run.id) + 1;
    const box = h('input', { type: 'checkbox', checked: beside.has(run.id), 'aria-label': `Draw ${run.id} beside the open run`,
      onchange: () => { if (box.checked) beside.add(run.id); else beside.delete(run.id); shown?.compare?.([...beside]); fill(); } });
    return h('li', { dataset: { run: run.id } },
      h('a', { href: `#train/${encodeURIComponent(run.id)}` },
        h('span.run-name', {}, run.id, run.training ? h('span.live', {}, 'training') : null),
        h('span.fine', {}, `${ago(run.changed)} · ${bytes(run.bytes)}`),
        h('span.bars', { 'aria-label': run.parts.map(({ part, state }) => `${part} ${state.replace('_', ' ')}`).join(', '),
          role: 'img' }, ...run.parts.map(bar))),
      h(`label.beside.colour-${colour}`, { title: 'Draw its curves beside the open run’s' }, box));
  }

  function bar({ part, steps, planned }) {
    const filled = h('i');
    filled.style.transform = `scaleX(${planned ? Math.min(1, steps / planned) : 0})`;
    return h('span', { title: `${part}: ${steps} of ${planned ?? '?'} steps` }, filled);
  }

  function mark() {
    for (const entry of list.children) {
      const link = entry.querySelector('a');
      if (entry.dataset.run === at[0]) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
      entry.querySelector('.beside').hidden = entry.dataset.run === at[0];
    }
  }

  async function go() {
    if (!runs.length) await refresh();
    mark();
    layout.dataset.pane = at[0] ?? '';
    shown?.leave?.();
    shown = null;
    const context = { status, refresh, beside: [...beside], rest: at.slice(1) };
    try {
      if (at[0] === 'new') shown = await showForm(pane, context);
      else if (at[0] === 'data') shown = await showData(pane, context);
      else if (at[0]) shown = await showRun(pane, at[0], context);
      else if (runs.length) location.replace(`#train/${encodeURIComponent(runs[0].id)}`);
      else pane.replaceChildren(h('div.empty.tall', {}, h('p.lead', {}, 'No run to look at.'),
        h('p', {}, 'Train a model on the data that comes with the program, or on your own pictures.'),
        status?.training_allowed ? h('a.button', { href: '#train/new' }, icon('plus'), 'New training') : null));
    } catch (error) {
      pane.replaceChildren(h('div.empty.tall', {}, h('p.lead', {},
        error.status === 404 ? 'There is no such run.' : 'This cannot be shown.'), h('p', {}, error.message)));
      if (error.status !== 404) complain(error);
    }
  }

  const step = (by) => () => {
    const now = runs.findIndex(({ id }) => id === at[0]);
    const next = runs[now + by];
    if (!next) return false;
    location.hash = `#train/${encodeURIComponent(next.id)}`;
    return undefined;
  };
  shortcut('train', 'j', 'next run', step(1));
  shortcut('train', 'k', 'run before', step(-1));
  shortcut('train', 'n', 'new training', () => { location.hash = '#train/new'; });
  document.addEventListener('server-back', refresh);

  return {
    enter(rest) {
      const same = shown && rest.join('/') === at.join('/');
      at = rest;
      clearTimeout(timer);
      timer = setTimeout(refresh, PULSE);
      if (!same) go();
    },
  };
}
