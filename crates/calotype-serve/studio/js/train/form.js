/* A new training: a form made of the recipe's own definition, the recipe as text beside it, and what the check says of it. */
import { h, icon, later } from '../dom.js';
import { get, post } from '../api.js';
import { sentence } from '../dialogs.js';
import { report } from './data.js';
import { keyField } from './key_field.js';
import { readToml, writeToml } from './toml.js';

const PARTS = ['vae', 'clip', 'diffusion'];

/**
 * @param {HTMLElement} pane
 * @param {{refresh: function(), rest: string[], status: object}} context
 */
export async function showForm(pane, { refresh, rest, status }) {
  if (!status.training_allowed) {
    pane.replaceChildren(h('div.empty.tall', {}, h('p.lead', {}, 'This server does not train.'),
      h('p', {}, 'Start it with --allow-training to train from this page.')));
    return { leave() {} };
  }
  const [{ recipes }, { keys }] = await Promise.all([get('/api/recipes'), get('/api/recipes/keys')]);
  const source = rest[0] ? await get(`/api/runs/${encodeURIComponent(rest[0])}`).catch(() => null) : null;
  const offers = source?.recipe ? [{ name: `of the run ${source.id}`, text: source.recipe, about: 'as it was trained' },
    ...recipes] : recipes;

  const name = h('input', { id: 'run-name', required: true, pattern: '[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}', placeholder: 'my-run',
    autocomplete: 'off', spellcheck: false, title: 'Letters, digits, _ and -; at most 64' });
  const data = h('input', { id: 'run-data', placeholder: 'the scenes that come with the program', autocomplete: 'off',
    spellcheck: false });
  const look = h('button', { type: 'button', disabled: true, onclick: inspect }, 'Look');
  const seen = h('div.seen', { 'aria-live': 'polite' });
  data.addEventListener('input', () => { look.disabled = !data.value.trim(); });
  const preset = h('select', { id: 'preset',
    onchange: () => { text.value = offers[preset.selectedIndex].text; about(); changed(); } },
      ...offers.map((offer) => h('option', {}, offer.name)));
  const presetAbout = h('p.fine');
  const text = h('textarea.toml', { id: 'toml', spellcheck: false, autocomplete: 'off', rows: 24, oninput: () => changed() });
  const verdict = h('div.verdict', { role: 'status' });
  const start = h('button.main', { type: 'submit', disabled: true }, 'Start training');
  const find = h('input', { type: 'search', id: 'find-key', placeholder: 'Find a setting', oninput: () => filter() });
  const all = h('input', { type: 'checkbox', id: 'all-keys', onchange: () => filter() });
  const fields = keys.map((key) => keyField(key, (raw) => { text.value = writeToml(text.value, key.key, raw); changed(); }));
  const parts = PARTS.map((part) => h('input', { type: 'checkbox', value: part, checked: true, id: `part-${part}` }));
  const sections = [...new Set(keys.map(({ part }) => part))].map((part) => ({ part,
    box: h('fieldset.keys-of', {}, h('legend', {}, part === 'top' ? 'whole run' : part),
      ...fields.filter((field) => field.key.part === part).map((field) => field.element)) }));
  const none = h('p.fine.note', { hidden: true }, 'No setting is called so.');
  let asked = 0;

  const about = () => { presetAbout.textContent = sentence(offers[preset.selectedIndex]?.about ?? ''); };

  function changed() {
    const values = readToml(text.value);
    for (const field of fields) field.take(values);
    filter();
    verdict.dataset.ok = 'unknown';
    verdict.replaceChildren(h('span.fine', {}, 'Checking …'));
    start.disabled = true;
    check();
  }

  /* Shows what the recipe sets, or what is searched for, or everything. */
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { element, key, set } of fields.map((field) => ({ element: field.element, key: field.key, set: field.set }))) {
      const found = words.every((word) => key.key.includes(word) || key.help.toLowerCase().includes(word));
      element.hidden = !(found && (words.length || all.checked || set()));
    }
    for (const { box } of sections) box.hidden = ![...box.children].slice(1).some((child) => !child.hidden);
    none.hidden = sections.some(({ box }) => !box.hidden);
  }

  const check = later(async () => {
    const mine = ++asked;
    try {
      const answer = await post('/api/recipes/check', { recipe: text.value });
      if (mine === asked) judge(answer);
    } catch (error) {
      if (mine === asked) judge({ ok: false, error });
    }
  }, 350);

  function judge({ ok, error }) {
    for (const field of fields) field.fault(!ok && field.key.key === error.setting ? error.message : null);
    verdict.dataset.ok = String(ok);
    start.disabled = !ok;
    const at = ok ? null : fields.find((field) => field.key.key === error.setting);
    verdict.replaceChildren(icon(ok ? 'check' : 'warn'), h('p', {}, ok ? 'The recipe passes the check.' : sentence(error.message),
      !ok && error.hint ? h('span.fine', {}, ` ${sentence(error.hint)}`) : null,
      at ? [' ', h('button.link', { type: 'button', onclick: () => { find.value = at.key.key; filter(); at.focus(); } },
        'Go to it')] : null));
  }

  async function inspect() {
    look.disabled = true;
    seen.replaceChildren(h('p.fine', {}, 'Reading every picture …'));
    try {
      seen.replaceChildren(...report(await post('/api/data/inspect', { data: data.value.trim() })));
    } catch (error) {
      seen.replaceChildren(h('p.fault-line', {}, icon('warn'), sentence(error.message)));
    }
    look.disabled = false;
  }

  async function begin(event) {
    event.preventDefault();
    start.disabled = true;
    try {
      await post('/api/trainings', { run: name.value.trim(), recipe: text.value,
        parts: parts.filter(({ checked }) => checked).map(({ value }) => value), data: data.value.trim() || null, resume: false });
      refresh();
      location.hash = `#train/${encodeURIComponent(name.value.trim())}`;
    } catch (error) {
      judge({ ok: false, error });
      start.disabled = false;
    }
  }

  pane.replaceChildren(h('article', {}, h('h2', {}, 'New training'),
    h('form.new-run', { onsubmit: begin },
      h('div.new-head', {},
        h('label.knob', { htmlFor: 'run-name' }, h('span', {}, 'Name of the run'), name),
        h('label.knob', { htmlFor: 'preset' }, h('span', {}, 'Begin with the recipe'), preset),
        h('div.knob', {}, h('label', { htmlFor: 'run-data' }, 'Pictures'), h('span.pair', {}, data, look)),
        h('fieldset.knob.part-boxes', {}, h('legend', {}, 'Parts'),
          ...parts.map((box) => h('label', { htmlFor: box.id }, box, box.value)))),
      presetAbout, seen,
      h('div.recipe-bench', {},
        h('div.form-side', {},
          h('div.find-row', {}, h('label.search', {}, icon('search'), h('span.unseen', {}, 'Find a setting'), find),
            h('label', { htmlFor: 'all-keys' }, all, `all ${keys.length}`)),
          ...sections.map(({ box }) => box), none),
        h('div.text-side', {}, h('label.fine', { htmlFor: 'toml' }, 'The recipe, as text'), text)),
      h('div.start-row', {}, verdict, start))));
  text.value = offers[0]?.text ?? '';
  about();
  changed();
  name.focus();
  return { leave() {} };
}
