/* Evaluations: chosen ones side by side, each number with its interval; what the model got right, and what it did not. */
import { ago, announce, fill, h, iconButton } from '../dom.js';
import { follow, get, post, remove } from '../api.js';
import { complain, dialog } from '../dialogs.js';
import { COLOURS } from '../chart/line.js';
import { recall, remember } from '../store.js';
import { modelLabel } from './names.js';
import { numbersOf } from './numbers.js';

/** @param {HTMLElement} box */
export function createEvaluations(box) {
  const list = h('ul.evaluations', { 'aria-label': 'Evaluations' });
  const note = h('p.fine.note', {}, 'Loading …');
  const running = h('div');
  const charts = h('div.chart-box');
  const details = h('div');
  const pictures = h('section.block');
  box.append(h('div.with-rail', {},
    h('div.rail', {}, h('div.rail-deeds', {}, iconButton('plus', 'New evaluation', begin, { className: '' })), running, list, note),
    h('div.pane', {}, charts, pictures, details)));
  let evaluations = [];
  let chosen = [];
  let known = null;

  async function refresh() {
    try {
      ({ evaluations } = await get('/api/evaluations'));
    } catch (error) {
      note.textContent = error.status ? error.message : 'The server does not answer.';
      return;
    }
    note.textContent = evaluations.length ? ''
      : 'Nothing was measured yet. An evaluation asks a model frozen prompts and counts what it draws.';
    const ids = evaluations.map(({ id }) => id).join();
    if (ids === known) return;
    // A new evaluation is what one wants to see.
    chosen = known === null ? evaluations.slice(0, 2) : [evaluations[0], ...chosen].slice(0, COLOURS);
    if (known === null && chosen.length === 2 && chosen[0].kind !== chosen[1].kind) chosen.length = 1;
    known = ids;
    show();
  }

  function show() {
    list.replaceChildren(...evaluations.map((each) => {
      const at = chosen.findIndex(({ id }) => id === each.id);
      const input = h('input', { type: 'checkbox', id: `evaluation-${each.id}`, checked: at >= 0, onchange: () => {
        chosen = input.checked ? [...chosen, each].slice(-COLOURS) : chosen.filter(({ id }) => id !== each.id);
        show();
        list.querySelector(`#${CSS.escape(input.id)}`).focus();
      } });
      return h('li', {}, h(`label.${at >= 0 ? `colour-${at}` : 'plain'}`, { htmlFor: input.id }, input,
        h('span', {}, h('strong', {}, modelLabel(each.model)),
        h('span.fine', {}, `${each.kind === 'benchmark' ? each.protocol?.name ?? 'benchmark' : each.kind} · ${ago(each.when)}`))));
    }));
    draw();
  }

  function draw() {
    if (!chosen.length) {
      charts.replaceChildren(h('div.empty.tall', {}, h('p.lead', {},
        evaluations.length ? 'Choose an evaluation.' : 'No evaluation to look at.')));
      pictures.replaceChildren();
      details.replaceChildren();
      return;
    }
    fill(charts, ...numbersOf(chosen));
    protocols();
    samples();
  }

  function protocols() {
    details.replaceChildren(h('details.recipe', {}, h('summary', {}, 'Protocol: how this was measured'),
      ...chosen.map((each) => h('div', {}, chosen.length > 1 ? h('h3', {}, modelLabel(each.model)) : null,
        h('dl.protocol', {}, ...Object.entries(each.protocol
          ?? {}).flatMap(([key, value]) => [h('dt', {}, key.replace(/_/g, ' ')),
            h('dd', {}, typeof value === 'object' ? JSON.stringify(value) : String(value))]))))));
  }

  async function samples() {
    const each = chosen[0];
    pictures.replaceChildren();
    if (each.kind !== 'benchmark') return;
    const fetchSome = (kind, right) => get(`/api/evaluations/${each.id}/pictures?kind=${kind}&right=${right}`).then((answer) => answer.pictures.slice(0, 12)).catch(() => []);
    const [wrong, right] = await Promise.all([fetchSome('unseen', false), fetchSome('unseen', true)]);
    if (chosen[0] !== each || (!wrong.length && !right.length)) return;
    pictures.replaceChildren(h('h2', {}, `What ${modelLabel(each.model)} drew of pairs it never saw together`),
      h('div.two', {}, column('Not as asked', wrong), column('As asked', right)));
  }

  const column = (title, list) => h('div', {}, h('h3', {}, title),
    list.length ? h('ul.verdicts', {},
      ...list.map(({ image, prompt, missing, faults, right }) => h('li', { dataset: { right: String(right) } },
    h('img', { src: image, alt: '', loading: 'lazy' }), h('p', {}, prompt), wrong(right, missing, faults))))
      : h('p.fine', {}, 'None.'));

  /* Why a picture is not as asked: in the checker's words, or by what it did not find. */
  function wrong(right, missing, faults) {
    if (right) return null;
    const words = faults?.length ? faults.map(readable).join(', ') : missing?.length ? `missing: ${missing.join(', ')}`
      : 'not in that relation';
    return h('p.missing', {}, words);
  }
  const readable = (fault) => (typeof fault === 'string' ? fault : fault.message ?? '');

  async function begin() {
    let models = [];
    try { ({ models } = await get('/api/models')); } catch (error) { complain(error); return; }
    const model = h('select', { id: 'evaluate-model' },
      ...models.filter(({ faults }) => !faults).map(({ name }) => h('option', {}, name)));
    const prompts = h('input', { type: 'number', id: 'evaluate-prompts', min: '4', max: '500', value: '64' });
    const seed = h('input', { type: 'number', id: 'evaluate-seed', min: '0', value: '0' });
    const answer = await dialog('New evaluation', [
      h('p', {}, 'The benchmark emoji-scenes asks frozen prompts of unseen and of seen pairs and counts what is drawn. It suits models that were trained on emoji-scenes.'),
      h('label.knob', { htmlFor: model.id }, h('span', {}, 'Model'), model),
      h('label.knob', { htmlFor: prompts.id }, h('span', {},
        'Prompts of each kind: 500 for the numbers of the benchmark, fewer for a glance'), prompts),
      h('label.knob', { htmlFor: seed.id }, h('span', {}, 'Seed'), seed),
    ], [h('button.main', { type: 'submit', value: 'go' }, 'Evaluate')]);
    if (answer !== 'go') return;
    try {
      const { id } = await post('/api/evaluations', { model: model.value, prompts: Number(prompts.value),
        seed: Number(seed.value) });
      remember('evaluation', { id, model: model.value });
      attend(id, model.value);
    } catch (error) { complain(error); }
  }

  function attend(id, model) {
    const text = h('span', {}, `${model}: waiting`);
    const bar = h('span');
    const row = h('div.running', {}, h('p.progress', {}, text, h('span.track', { 'aria-hidden': 'true' }, bar)),
      iconButton('close', 'Cancel', () => remove(`/api/evaluations/${id}`).catch(complain)));
    running.append(row);
    const end = (said) => {
      row.remove();
      remember('evaluation', null);
      if (said) announce(said);
      refresh();
    };
    follow(`/api/evaluations/${id}/events`, {
      stage: ({ stage }) => { text.textContent = `${model}: ${stage}`; },
      step: ({ step, steps }) => { text.textContent = `${model}: ${step} of ${steps}`; bar.style.transform = `scaleX(${step / steps})`; },
      lost: () => end(null),
      done: () => end('The evaluation is done'),
      cancelled: () => end('The evaluation was cancelled'),
      failed: (event) => { complain(Object.assign(new Error((event.error ?? event).message),
        event.error ?? event)); end('The evaluation failed'); },
    });
  }

  // One that was begun before this page was opened again.
  const left = recall('evaluation');
  if (left) attend(left.id, left.model);
  return { refresh };
}
