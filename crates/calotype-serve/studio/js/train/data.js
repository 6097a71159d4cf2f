/* Data, looked at before anything is trained on it: pictures, captions, faults. */
import { h, icon, number } from '../dom.js';
import { post } from '../api.js';
import { sentence } from '../dialogs.js';

/** @param {HTMLElement} pane */
export async function showData(pane) {
  const folder = h('input', { id: 'folder', placeholder: 'a folder below the data folder', autocomplete: 'off',
    spellcheck: false });
  const result = h('div', { 'aria-live': 'polite' });
  const button = h('button.main', { type: 'submit' }, 'Inspect');
  const form = h('form.inspect', {
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      result.replaceChildren(h('p.fine.note', {}, 'Reading every picture …'));
      try {
        result.replaceChildren(...report(await post('/api/data/inspect', { data: folder.value.trim() })));
      } catch (error) {
        result.replaceChildren(h('p.fault-line', {}, icon('warn'),
          `${sentence(error.message)} ${error.hint ? sentence(error.hint) : ''}`));
      }
      button.disabled = false;
    },
  }, h('label.knob', { htmlFor: 'folder' }, h('span', {}, 'Folder'), folder), button);
  pane.replaceChildren(h('article', {}, h('h2', {}, 'Look at data'),
    h('p.lede', {}, 'What training would see: how many pictures, some of them with their captions, and everything that is wrong with them. Folders of pictures, tar shards and parquet files are read.'),
    form, result));
  folder.focus();
  return { leave() {} };
}

/** What `data inspect` says. @param {{pictures: number, faults: (string|object)[], samples: {caption: string, thumbnail: string}[]}} found */
export function report({ pictures, faults, samples }) {
  return [
    h('p.verdict', { dataset: { ok: String(!faults.length) } }, icon(faults.length ? 'warn' : 'check'),
      h('strong', {}, `${number(pictures)} pictures`), faults.length
        ? `, ${faults.length} ${faults.length > 1 ? 'faults' : 'fault'}` : ', no fault'),
    faults.length ? h('ul.faults', {},
      ...faults.map((fault) => h('li', {}, typeof fault === 'string' ? fault : fault.message ?? JSON.stringify(fault)))) : null,
    h('ul.thumbnails', {}, ...samples.map(({ caption, thumbnail }) => h('li', {},
      h('img', { src: thumbnail, alt: '', loading: 'lazy' }), h('p', {}, caption || h('em', {}, 'no caption'))))),
  ].filter(Boolean);
}
