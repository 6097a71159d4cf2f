/* The knobs: model, steps, guidance, seed, sampler, size, negative prompt, number of pictures. */
import { byId, bytes, fill, h, setIcon } from '../dom.js';
import { recall, remember } from '../store.js';
import { shortcut } from '../shortcuts.js';
import { KNOBS, extrasOf } from './request.js';

const MOST = 4;

/**
 * @param {{models: object[], samplers: object[], schedules: object[], preferred: string}} offers
 * @param {{onmodel: function(), showWords: function(object)}} on
 */
export function createSettings({ models, samplers, schedules, preferred }, on) {
  const field = (name) => byId(name);
  let count = recall('count', 1);
  let locked = recall('locked', false);
  let extras = {};

  const option = (value, text, disabled = false) => h('option', { value, disabled }, text);
  byId('model').replaceChildren(...models.map((model) => option(model.name,
    model.faults ? `${model.name} (cannot be opened)` : model.name, Boolean(model.faults))));
  byId('schedule').replaceChildren(option('', 'as the model'), ...schedules.map(({ name, label }) => option(name, label)));
  byId('model').value = [recall('model'), preferred,
    models[0]?.name].find((name) => models.some((model) => model.name === name && !model.faults)) ?? '';

  const model = () => models.find(({ name }) => name === byId('model').value) ?? null;

  byId('count').replaceChildren(...Array.from({ length: MOST }, (_, index) => {
    const id = `count-${index + 1}`;
    return h('span', {}, h('input', { type: 'radio', name: 'count', id, value: String(index + 1), checked: index + 1 === count,
      onchange: () => { count = index + 1; remember('count', count); } }), h('label', { htmlFor: id }, String(index + 1)));
  }));

  function twins(name) {
    const [number, range] = [field(name), field(`${name}-range`)];
    number.addEventListener('input', () => { range.value = number.value; });
    range.addEventListener('input', () => { number.value = range.value; });
  }
  const put = (name, value) => {
    field(name).value = value ?? '';
    if (byId(`${name}-range`)) byId(`${name}-range`).value = value ?? '';
  };
  twins('steps');
  twins('guidance');

  /** The model's own values, where a person has not chosen others for it. */
  function follow() {
    const chosen = model();
    if (!chosen) return;
    const kept = recall(`knobs.${chosen.name}`, {});
    for (const name of ['steps', 'guidance', 'width', 'height']) put(name, kept[name] ?? chosen[name]);
    // The model's own sampler is the empty choice, under its name: its whole scheduler configuration decides then.
    const own = samplers.find(({ name }) => name === chosen.sampler);
    byId('sampler').replaceChildren(option('', own?.label ?? 'as the model'),
      ...samplers.filter((each) => each !== own).map(({ name, label }) => option(name, label)));
    for (const name of ['sampler', 'schedule']) put(name, kept[name] ?? '');
    for (const name of ['width', 'height']) {
      field(name).step = String(chosen.side_multiple);
      field(name).min = String(chosen.side_multiple);
      field(name).max = String(chosen.most_side);
    }
    about(chosen);
    // A model with guidance built in looks at no negative prompt.
    byId('negative').disabled = chosen.guidance_distilled;
    byId('negative').title = chosen.guidance_distilled ? 'This model has its guidance built in and reads no negative prompt' : '';
    remember('model', chosen.name);
    on.onmodel();
  }

  function about(chosen) {
    const parts = [chosen.family, `${chosen.width} × ${chosen.height}`, bytes(chosen.bytes)];
    const words = chosen.words;
    byId('model-about').replaceChildren(parts.filter(Boolean).join(' · '),
      ...(words ? [h('br'), `It knows ${words.nouns?.length ?? 0} things. `,
        h('button.link', { type: 'button', onclick: () => on.showWords(chosen) }, 'See its words')] : []));
  }

  const dice = () => { byId('seed').value = String(Math.floor(Math.random() * 2 ** 31)); };
  function lock(value) {
    locked = value;
    remember('locked', locked);
    byId('lock').setAttribute('aria-pressed', String(locked));
    setIcon(byId('lock'), locked ? 'lock' : 'unlock');
    byId('lock').querySelector('.unseen').textContent = locked ? 'The seed is kept' : 'Keep this seed';
  }
  byId('dice').addEventListener('click', dice);
  byId('lock').addEventListener('click', () => lock(!locked));
  // A seed that someone writes is one that they want.
  byId('seed').addEventListener('change', () => lock(byId('seed').value !== ''));
  shortcut('develop', 'd', 'another seed', dice);
  shortcut('develop', 'l', 'keep the seed, or not', () => lock(!locked));

  byId('model').addEventListener('change', follow);
  byId('knobs').addEventListener('input', ({ target }) => { clearFault(target.closest('.knob')); });
  byId('knobs').addEventListener('change', () => {
    if (!model()) return;
    const own = model();
    const kept = {};
    for (const name of ['steps', 'guidance', 'width', 'height']) {
      if (field(name).value !== '' && Number(field(name).value) !== own[name]) kept[name] = Number(field(name).value);
    }
    for (const name of ['sampler', 'schedule']) if (field(name).value) kept[name] = field(name).value;
    remember(`knobs.${own.name}`, kept);
  });
  byId('knobs').addEventListener('submit', (event) => event.preventDefault());

  function clearFault(knob) {
    knob?.querySelectorAll('.fault').forEach((note) => note.remove());
    knob?.querySelectorAll('[aria-invalid]').forEach((each) => each.removeAttribute('aria-invalid'));
  }

  /* Settings of a repeated run that have no knob: they are told, and can be let go. */
  function bring(list) {
    extras = list;
    const names = Object.entries(extras).map(([key, value]) => `${key.replace(/_/g, ' ')} ${value}`);
    byId('extras').hidden = names.length === 0;
    fill(byId('extras'), `As in the repeated run: ${names.join(', ')}. `, h('button.link', { type: 'button', onclick: () => bring({}) }, 'Let go'));
  }

  const numberOf = (name) => (field(name).value === '' ? null : Number(field(name).value));
  lock(locked);
  if (byId('seed').value === '') dice();
  follow();

  return {
    model,
    /** @param {string} name */
    named: (name) => models.find((each) => each.name === name && !each.faults) ?? null,
    get count() { return count; },
    /** A seed for the next pictures: the kept one, or a new one. */
    seed() {
      if (!locked || byId('seed').value === '') dice();
      return Number(byId('seed').value);
    },
    /** The request's settings, without prompt and seed. */
    request() {
      const filled = { negative: (!byId('negative').disabled && byId('negative').value.trim()) || null,
        sampler: field('sampler').value || null, schedule: field('schedule').value || null };
      for (const name of ['steps', 'guidance', 'width', 'height']) filled[name] = numberOf(name);
      return { ...filled, ...extras };
    },
    /** Width and height for a picture of this shape: about as many pixels as the model draws. */
    shape(width, height) {
      const own = model();
      if (!own) return;
      const scale = Math.sqrt((own.width * own.height) / (width * height));
      const side = (length) => Math.max(1, Math.min(Math.floor(own.most_side / own.side_multiple),
        Math.round((length * scale) / own.side_multiple))) * own.side_multiple;
      put('width', side(width));
      put('height', side(height));
    },
    /** Takes the settings of a run that is to be repeated. @param {object} request @param {string} name of its model */
    apply(request, name) {
      const known = models.some((each) => each.name === name && !each.faults);
      if (known) { byId('model').value = name; follow(); }
      bring(extrasOf(request));
      for (const key of [...KNOBS, 'seed']) {
        if (request[key] !== undefined) put(key, key === 'sampler' && request[key] === model()?.sampler ? '' : request[key]);
      }
      lock(true);
      return known;
    },
    /** Puts a refusal at the knob that it is about. @returns {boolean} whether there is such a knob */
    fault(setting, message) {
      const input = byId(setting ?? '');
      const knob = input?.closest('.knob');
      if (!knob) return false;
      clearFault(knob);
      byId('settings-fold').open = true;
      input.setAttribute('aria-invalid', 'true');
      knob.append(h('span.fault', { role: 'alert' }, message));
      input.focus();
      return true;
    },
  };
}
