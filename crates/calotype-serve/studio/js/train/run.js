/* One run: its parts, curves, samples, what was measured, its recipe; and the training, if one is running. */
import { ago, announce, bytes, fill, h, icon, iconButton, measured, number, plain } from '../dom.js';
import { follow, get, post, remove } from '../api.js';
import { complain, confirm } from '../dialogs.js';
import { createCurves } from './curves.js';
import { showSamples } from './samples.js';

/* A training that has just begun has written nothing yet: there is no run, but there will be. */
async function beginning(id, error) {
  const { trainings } = error.status === 404 ? await get('/api/trainings') : { trainings: [] };
  const mine = trainings.find(({ run, state }) => run === id && ['queued', 'running'].includes(state));
  if (!mine) throw error;
  return { id, path: '', changed: Date.now() / 1000, bytes: 0, parts: [], training: mine.id, recipe: null, metrics: null,
    report: false, awaited: true };
}

const STATES = { done: 'done', unfinished: 'unfinished', not_started: 'not begun', unknown: 'unknown' };

/**
 * @param {HTMLElement} pane
 * @param {string} id
 * @param {{status: object, refresh: function(), beside: string[], rest: string[]}} context
 * @returns {Promise<{leave: function(), compare: function(string[])}>}
 */
export async function showRun(pane, id, { status, refresh, beside }) {
  const address = `/api/runs/${encodeURIComponent(id)}`;
  let run = await get(address).catch((error) => beginning(id, error));
  let part = [...run.parts].reverse().find(({ steps }) => steps > 0)?.part ?? run.parts[0]?.part;
  let stop = () => {};
  let left = false;

  const head = h('div');
  const tabs = h('div.parts', { role: 'group', 'aria-label': 'Part of the model' });
  const curves = createCurves(id, beside);
  const samples = h('section.block');
  const validation = h('section.block');
  const recipe = h('div');
  pane.replaceChildren(h('article.run', {}, head, tabs, curves.element, h('div.two', {}, samples, validation), recipe));

  function fillHead() {
    const started = run.parts.some(({ steps }) => steps > 0);
    const unfinished = run.parts.filter(({ state }) => state !== 'done').map((each) => each.part);
    const progress = h('p.progress', { hidden: true }, h('span.progress-text'),
      h('span.track', { 'aria-hidden': 'true' }, h('span')));
    head.replaceChildren(
      h('div.run-head', {},
        h('div', {}, h('h2', {}, run.id), h('p.fine', {}, run.awaited ? 'Nothing is written yet.'
          : `${run.path} · ${bytes(run.bytes)} · changed ${ago(run.changed)}`)),
        h('div.deeds', {},
          run.report ? h('a.button.quiet', { href: `${address}/report`, target: '_blank', rel: 'noopener' }, icon('image'),
            'Report') : null,
          run.training && status.training_allowed ? iconButton('stop', 'Stop', halt,
            { className: 'main stop', id: 'stop-training' }) : null,
          !run.training && started && unfinished.length && status.training_allowed
            ? iconButton('play', 'Resume', () => resume(unfinished), { className: '' }) : null)),
      progress);
    if (run.training) attend(run.training, progress);
  }

  function fillTabs() {
    tabs.replaceChildren(...run.parts.map((each) => {
      const filled = h('i');
      filled.style.transform = `scaleX(${each.planned ? Math.min(1, each.steps / each.planned) : 0})`;
      return h('button', { type: 'button', 'aria-pressed': String(each.part === part), onclick: () => choose(each.part),
        dataset: { part: each.part } },
        h('strong', {}, each.part), h('span.fine', {},
          `${number(each.steps)}${each.planned ? ` of ${number(each.planned)}` : ''} steps · ${STATES[each.state] ?? each.state}`),
            h('span.meter', { 'aria-hidden': 'true' }, filled));
    }));
  }

  function choose(next) {
    part = next;
    tabs.querySelectorAll('button').forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.part === part)));
    curves.show(part);
    showSamples(samples, address, part);
    fillValidation();
  }

  function fillValidation() {
    const chosen = run.parts.find((each) => each.part === part);
    const best = chosen?.best_validation ?? [];
    const metrics = run.metrics ? Object.entries(run.metrics).filter(([, value]) => typeof value === 'number') : [];
    const intervals = run.metrics?.intervals_95 ?? {};
    fill(validation, h('h3', {}, 'Measured'),
      best.length ? table('Best of the validations', ['', 'value', 'at step'],
        best.map(({ metric, value, step, standard_error: error }) => [plain(metric), measured(value, error), number(step)]))
        : h('p.fine', {}, `${part} was not validated while it trained.`),
      metrics.length ? h('details', {}, h('summary', {}, `The whole model: ${metrics.length} numbers of metrics.json`),
        table('metrics.json', ['', 'value', '95 %'],
          metrics.map(([name, value]) => [plain(name), number(value),
            intervals[name] ? intervals[name].map(number).join(' to ') : '']))) : null);
  }

  function fillRecipe() {
    recipe.replaceChildren(h('details.recipe', {}, h('summary', {}, 'Recipe'),
      h('pre', { tabIndex: 0 }, run.recipe ?? 'No recipe was kept.'),
      run.recipe && status.training_allowed ? h('a.button', { href: `#train/new/${encodeURIComponent(id)}` }, icon('repeat'),
        'Train another from it') : null));
  }

  /* A training that runs: its step in words, the curve as it grows. */
  function attend(training, progress) {
    stop();
    let drawn = 0;
    progress.hidden = false;
    const [text, track] = [progress.querySelector('.progress-text'), progress.querySelector('.track > span')];
    text.textContent = 'beginning';
    stop = follow(`/api/trainings/${training}/events`, {
      stage: (event) => { text.textContent = event.stage; },
      step: ({ step, steps, message }) => {
        text.textContent = `step ${number(step)} of ${number(steps)}${message ? ` · ${message}` : ''}`;
        track.style.transform = `scaleX(${steps ? step / steps : 0})`;
        if (Date.now() - drawn > 1500) {
          drawn = Date.now();
          update();
        }
      },
      done: () => ended('The training ended'),
      cancelled: () => ended('The training was stopped'),
      failed: (event) => { complain(Object.assign(new Error((event.error ?? event).message),
        event.error ?? event)); ended('The training failed'); },
    });
  }

  async function update() {
    if (left) return;
    const now = await get(address).catch(() => null);
    if (left || !now) return;
    const arrived = run.awaited;
    run = now;
    if (arrived) {
      fillHead();
      fillRecipe();
    }
    const running = run.parts.find(({ state, steps }) => state !== 'done' && steps > 0)?.part;
    if (!part && run.parts.length) choose(run.parts[0].part);
    if (running && running !== part && run.parts.find((each) => each.part === part)?.steps === 0) choose(running);
    fillTabs();
    curves.grow();
  }

  async function ended(said) {
    announce(said);
    await update();
    fillHead();
    choose(part);
    refresh();
  }

  async function halt() {
    if (!await confirm('Stop this training?', 'It saves a checkpoint first, and can be resumed where it stopped.', 'Stop')) return;
    try { await remove(`/api/trainings/${run.training}`); } catch (error) { complain(error); }
  }

  async function resume(parts) {
    try {
      const { id: training } = await post('/api/trainings', { run: id, recipe: run.recipe, parts, data: null, resume: true });
      run.training = training;
      announce('Resumed');
      fillHead();
      refresh();
    } catch (error) { complain(error); }
  }

  fillHead();
  fillTabs();
  fillRecipe();
  if (part) choose(part);
  return {
    leave() { left = true; stop(); curves.dispose(); },
    compare: (others) => curves.compare(others),
    /** Another program may train this run: its curve is looked at again when the run changed. */
    pulse(runs) {
      const now = runs.find((each) => each.id === id);
      if (now && now.changed !== run.changed && !run.training) update();
      if (now?.training && !run.training) {
        run.training = now.training;
        fillHead();
      }
    },
  };
}

function table(caption, heads, rows) {
  return h('table.numbers', {}, h('caption.unseen', {}, caption),
    h('thead', {}, h('tr', {}, ...heads.map((text, index) => (text
      ? h('th', { scope: 'col', className: index ? 'number' : '' }, text) : h('td'))))),
    h('tbody', {}, ...rows.map(([name, ...cells]) => h('tr', {}, h('th', { scope: 'row' }, name),
      ...cells.map((cell) => h('td.number', {}, cell))))));
}
