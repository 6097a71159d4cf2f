/* Two models, or two settings of one, on the same prompts and noise: seen side by side, or chosen between blindly. */
import { announce, h, icon, iconButton } from '../dom.js';
import { get, post } from '../api.js';
import { complain } from '../dialogs.js';
import { shortcut } from '../shortcuts.js';
import { ask, followJob } from '../develop/job.js';
import { whiskers } from '../chart/whiskers.js';
import { wilson } from './wilson.js';

/** @param {HTMLElement} box */
export async function createDuel(box) {
  let models;
  try {
    models = (await get('/api/models')).models.filter(({ faults }) => !faults);
  } catch (error) {
    box.replaceChildren(h('p.fine.note', {}, error.message));
    return;
  }
  const select = (id, at) => {
    const element = h('select', { id }, ...models.map(({ name }) => h('option', {}, name)));
    element.selectedIndex = Math.min(at, models.length - 1);
    return element;
  };
  const [left, right] = [select('left-model', 0), select('right-model', 1)];
  const guidance = [0, 1].map((side) => h('input', { type: 'number', step: 'any', min: '0', placeholder: 'its own',
    id: `guidance-${side}` }));
  const seed = h('input', { type: 'number', id: 'duel-seed', min: '0', value: '0' });
  const prompts = h('textarea', { id: 'duel-prompts', rows: 5, spellcheck: false });
  const blind = h('input', { type: 'checkbox', id: 'blind', checked: true });
  const start = h('button.main', { type: 'submit' }, 'Draw both');
  const stage = h('div.duel-stage', { 'aria-live': 'polite' });
  const result = h('section.block');
  prompts.value = (models[0]?.examples ?? []).slice(0, 5).join('\n');

  const form = h('form.duel-form', { onsubmit: (event) => { event.preventDefault(); draw(); } },
    h('div.sides', {}, ...[[left, 'One side'], [right, 'Other side']].map(([element, text], side) => h('div.side', {},
      h('label.knob', { htmlFor: element.id }, h('span', {}, text), element),
        h('label.knob', { htmlFor: guidance[side].id }, h('span', {}, 'Guidance'), guidance[side])))),
    h('label.knob', { htmlFor: 'duel-prompts' }, h('span', {}, 'Prompts, one a line'), prompts),
    h('div.duel-row', {}, h('label.knob', { htmlFor: 'duel-seed' }, h('span', {}, 'Seed of the noise, for both'), seed),
      h('label.check', { htmlFor: 'blind' }, blind, 'Blind: you are not told which is which until the end'), start));
  const nothing = h('div.empty.tall', {}, h('p.lead', {}, 'No pairs yet.'),
    h('p', {}, 'Both sides draw the same prompts from the same noise. Look at the pairs, or choose blindly: what you choose is counted, with its interval.'));
  stage.replaceChildren(nothing);
  box.replaceChildren(h('div.duel', {}, form, h('div.pane', {}, stage, result)));

  let pairs = [];
  let at = 0;
  let tally = null;
  let working = false;

  async function draw() {
    const lines = prompts.value.split('\n').map((line) => line.trim()).filter(Boolean);
    if (working || !lines.length) return;
    working = true;
    start.disabled = true;
    pairs = [];
    at = 0;
    tally = null;
    result.replaceChildren();
    const control = new AbortController();
    try {
      for (const [index, prompt] of lines.entries()) {
        stage.replaceChildren(h('p.progress', {}, h('span', {}, `drawing ${index + 1} of ${lines.length}: ${prompt}`)),
          iconButton('close', 'Cancel', () => control.abort()));
        const both = [];
        for (const side of [0, 1]) both.push(await one([left, right][side].value, guidance[side].value, prompt, index,
          control.signal));
        // Which side is shown left is a coin's choice for every pair: else one would learn it.
        pairs.push({ prompt, pictures: both, swap: blind.checked && Math.random() < 0.5, chosen: null });
      }
    } catch (error) {
      if (error.name !== 'AbortError') complain(error);
    }
    working = false;
    start.disabled = false;
    show();
    stage.scrollIntoView({ block: 'nearest' });
  }

  async function one(model, strength, prompt, index, signal) {
    const about = models.find(({ name }) => name === model);
    const request = { prompt, seed: Number(seed.value) || 0, first: index,
      ...(strength === '' ? { guidance: about.guidance } : { guidance: Number(strength) }), steps: about.steps };
    const id = await ask({ kind: 'generate', model, request, count: 1, word_maps: true, previews: false, init_image: null,
      mask: null, explain_image: null, parent: null },
      { signal, onwait: (seconds) => { stage.firstChild.textContent = `the queue is full, trying again in ${seconds} s`; } });
    const job = followJob(id, { onqueued() {}, onstage() {}, onstep() {} });
    signal.addEventListener('abort', () => job.cancel());
    const { state, pictures, error } = await job.ended;
    if (state === 'cancelled') throw new DOMException('cancelled', 'AbortError');
    if (state !== 'done') throw Object.assign(new Error(error?.message ?? 'the job failed'), error);
    return pictures[0];
  }

  function show() {
    if (!pairs.length) { stage.replaceChildren(nothing); return; }
    if (blind.checked && at < pairs.length) showPair();
    else showAll();
  }

  function showPair() {
    const { prompt, pictures, swap } = pairs[at];
    const [a, b] = swap ? [pictures[1], pictures[0]] : pictures;
    const side = (picture, word) => h('button.contender',
      { type: 'button', onclick: () => choose(word), 'aria-label': `The ${word} picture shows it better` },
        h('img', { src: picture.image, alt: `The ${word} picture` }), h('span', {}, word));
    stage.replaceChildren(h('p.fine', {}, `${at + 1} of ${pairs.length}. Which shows it better?`), h('p.duel-prompt', {}, prompt),
      h('div.contenders', {}, side(a, 'left'), side(b, 'right')),
      h('p', {}, h('button', { type: 'button', onclick: () => choose('neither') }, 'Neither'),
        h('span.fine', {}, '  or the keys ', h('kbd', {}, '←'), ' ', h('kbd', {}, '→'), ' ', h('kbd', {}, '↓'))));
  }

  async function choose(word) {
    const pair = pairs[at];
    if (!pair || working || !blind.checked) return false;
    const [a, b] = pair.swap ? [pair.pictures[1], pair.pictures[0]] : pair.pictures;
    pair.chosen = word;
    at += 1;
    announce(word);
    show();
    if (left.value === right.value) {
      // The server counts by model: two settings of one are told apart here alone.
      tally = { models: [0, 1].map(tallyOf).filter(Boolean) };
    } else {
      try { tally = await post('/api/choices', { left: a.id, right: b.id, chosen: word }); } catch (error) { complain(error); }
    }
    if (at >= pairs.length) showTally();
    return undefined;
  }

  /* Which of the two settings a pair was won by; null where neither was chosen. */
  const winner = ({ chosen, swap }) => (chosen === null || chosen === 'neither' ? null : (chosen === 'left') === !swap ? 0 : 1);

  function tallyOf(side) {
    const decided = pairs.map(winner).filter((each) => each !== null);
    if (!decided.length) return null;
    const wins = decided.filter((each) => each === side).length;
    const [low, high] = wilson(wins, decided.length);
    return { model: name(side), wins, of: decided.length, low, high };
  }

  function showAll() {
    stage.replaceChildren(h('table.pairs', {}, h('caption.unseen', {}, 'Both models on the same prompts'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Prompt'),
        ...[0, 1].map((side) => h('th', { scope: 'col' }, name(side))))),
      h('tbody', {}, ...pairs.map((pair) => {
        const { prompt, pictures } = pair;
        const mine = winner(pair);
        return h('tr', {}, h('th', { scope: 'row' }, prompt),
          ...pictures.map((picture, side) => h('td', {}, h('img', { src: picture.image, alt: `${prompt}, by ${name(side)}` }),
            mine === side ? h('span.chosen', {}, icon('check'), 'your choice') : null)));
      }))));
    showTally();
  }

  const name = (side) => {
    const [model, strength] = [[left, right][side].value, guidance[side].value];
    return left.value === right.value ? `${model}, guidance ${strength || models.find((each) => each.name === model).guidance}`
      : model;
  };

  function showTally() {
    if (!tally?.models?.length) return;
    result.replaceChildren(h('h2', {}, 'What you chose so far'),
      whiskers(tally.models.map(({ model, wins, of, low, high }) => ({ label: model,
        marks: [{ colour: 0, name: model, value: of ? wins / of : 0, low, high, n: of }] })),
          { caption: 'How often each model was chosen' }),
      h('p.fine', {}, left.value === right.value ? 'Of the choices above. An interval that crosses 50 % decides nothing.'
        : 'Of all choices on this server in which the model stood and one was chosen. An interval that crosses 50 % decides nothing.'));
  }

  const current = () => !box.hidden && pairs.length > at && blind.checked;
  shortcut('judge', 'ArrowLeft', 'blind choice: the left one', () => (current() ? void choose('left') : false));
  shortcut('judge', 'ArrowRight', 'blind choice: the right one', () => (current() ? void choose('right') : false));
  shortcut('judge', 'ArrowDown', 'blind choice: neither', () => (current() ? void choose('neither') : false));
}
