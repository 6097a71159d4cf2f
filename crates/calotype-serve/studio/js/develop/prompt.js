/* The prompt, and its words as the model's text encoder cuts them: chips below the field. */
import { byId, h, later } from '../dom.js';
import { post } from '../api.js';
import { dialog } from '../dialogs.js';
import { align } from './align.js';
import { showsRow } from './words.js';

/**
 * @param {ReturnType<import('./view.js').createView>} view
 * @param {{model: function(): object, onchange: function()}} on
 */
export function createPrompt(view, on) {
  const field = byId('prompt');
  const { state } = view;
  let words = [];
  let unknown = [];
  let chips = [];
  let asked = null;

  const grow = () => {
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight}px`;
  };

  async function ask() {
    asked?.abort();
    asked = new AbortController();
    const prompt = field.value;
    if (!prompt.trim()) { take({ words: [], unknown: [] }); return; }
    try {
      take(await post('/api/words', { model: on.model()?.name, prompt }, { signal: asked.signal }));
    } catch (error) {
      // A prompt that cannot be read yet, while it is written, is no reason to interrupt.
      if (error.name !== 'AbortError') take({ words: [], unknown: [] });
    }
  }

  function take(answer) {
    ({ words, unknown } = answer);
    const over = answer.tokens > answer.most_tokens;
    byId('tokens').textContent = words.length ? `${answer.tokens} of ${answer.most_tokens} tokens` : '';
    byId('tokens').classList.toggle('over', over);
    build();
    explainUnknown();
  }

  /* Which row of the pictures a chip is: by alignment, so that a word that was added in between shifts nothing. */
  function partners() {
    const known = state.rows.map((row) => (row.words[row.words.length - 1] ?? row.words[0] ?? '').toLowerCase());
    const rows = new Array(words.length).fill(null);
    for (const [row, word] of align(known, words.map(({ word }) => word.toLowerCase()))) {
      if (row !== null && word !== null && known[row] === words[word].word.toLowerCase()) rows[word] = row;
    }
    return rows;
  }

  function build() {
    const rows = partners();
    // The server counts characters, JavaScript halves of some.
    const letters = [...field.value];
    const focus = chips.findIndex(({ element }) => element === document.activeElement);
    chips = words.map(({ word, start, end }, index) => {
      const strange = unknown.includes(word);
      const row = rows[index];
      const text = start === null || start === undefined ? word : letters.slice(start, end).join('');
      const element = h('button.chip', {
        type: 'button',
        dataset: { unknown: String(strange), row: row ?? '', fresh: String(row === null && state.rows.length > 0) },
        'aria-pressed': row === null ? null : String(state.pinned === row),
        title: strange ? 'The model never learned this word' : row === null ? (state.rows.length ? 'Not in the picture yet' : null)
          : `Show what “${word}” lit`,
        ...(row === null ? {} : showsRow(view, row)),
      }, text);
      return { element, row };
    });
    byId('chips').replaceChildren(...chips.map(({ element }) => h('li', {}, element)));
    if (focus >= 0) chips[Math.min(focus, chips.length - 1)]?.element.focus();
    mark();
  }

  function mark() {
    const shown = state.hovered ?? state.pinned;
    for (const { element, row } of chips) {
      element.classList.toggle('shown', row !== null && row === shown);
      if (row !== null) element.setAttribute('aria-pressed', String(row === state.pinned));
    }
  }

  function explainUnknown() {
    const model = on.model();
    const hint = byId('unknown');
    hint.hidden = unknown.length === 0;
    if (hint.hidden) return;
    const list = unknown.map((word) => `“${word}”`).join(', ');
    hint.replaceChildren(
      `This model never learned ${list}: it reads ${unknown.length > 1 ? 'them' : 'it'} as letters, and they mean nothing to it. `,
      model?.words ? h('button.link', { type: 'button', onclick: () => showWords(model) }, 'See the words it knows') : '');
  }

  /** All words that a small model knows; choosing one writes it into the prompt. */
  function showWords(model) {
    const group = (title, list) => (list?.length ? h('section', {}, h('h3', {}, title),
      h('ul.chips', {}, ...list.map((word) => h('li', {},
      h('button.chip', { type: 'submit', value: word }, word))))) : null);
    const titles = { nouns: 'Things', relations: 'Where they are', sizes: 'Sizes', colours: 'Backgrounds' };
    const groups = Object.keys(model.words).map((key) => group(titles[key] ?? key, model.words[key])).filter(Boolean);
    const example = model.examples[0];
    dialog('The words it knows', [
      h('p', {}, `${model.name} is small: it knows these words and nothing else. Say one or two things and where they are`,
        example ? `, like “${example}”.` : '.'),
      ...groups, h('p.fine', {}, 'Choosing a word writes it into your prompt.')], [], 'wide').then((word) => {
      if (!word) return;
      const before = field.value.slice(0, field.selectionStart).trimEnd();
      const after = field.value.slice(field.selectionEnd).trimStart();
      set([before, word, after].filter(Boolean).join(' '));
      field.focus();
    });
  }

  function set(text) {
    field.value = text;
    grow();
    ask();
    on.onchange();
  }

  const soon = later(ask, 140);
  field.addEventListener('input', () => { grow(); soon(); on.onchange(); });
  // A prompt is one sentence: Enter asks for the picture, as in every search field.
  field.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId('ask').requestSubmit();
    }
  });
  addEventListener('resize', later(grow, 100));
  view.on(['rows'], build);
  view.on(['hovered', 'pinned'], mark);
  document.addEventListener('light', ({ detail }) => {
    const best = detail ? Math.max(...detail.rows) : 0;
    for (const { element, row } of chips) {
      element.classList.toggle('glow', Boolean(detail) && row !== null && detail.rows[row] > 0.15);
      element.classList.toggle('best', Boolean(detail) && row !== null && best > 0 && detail.rows[row] === best);
    }
  });

  return { get text() { return field.value.trim(); }, set, ask, showWords, focus: () => { field.focus(); field.select(); } };
}
