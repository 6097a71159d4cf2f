/* Pictures that the model drew while it trained, one sheet for each time, under a slider. */
import { h, number, plain } from '../dom.js';
import { get } from '../api.js';

const rank = ({ name }) => (/heat|map/.test(name ?? '') ? 1 : 0);

/** @param {HTMLElement} box @param {string} address of the run @param {string} part */
export async function showSamples(box, address, part) {
  box.replaceChildren(h('h3', {}, 'Samples'), h('p.fine', {}, 'Loading …'));
  let samples;
  try {
    ({ samples } = await get(`${address}/samples?part=${part}`));
  } catch (error) {
    samples = [];
    if (error.status !== 404) { box.replaceChildren(h('h3', {}, 'Samples'), h('p.fine', {}, error.message)); return; }
  }
  if (!samples.length) {
    box.replaceChildren(h('h3', {}, 'Samples'), h('p.fine', {},
      part === 'clip' ? 'CLIP draws nothing.' : 'No samples were drawn while this part trained.'));
    return;
  }
  // One step may have several sheets: what was drawn, and maps of it.
  const steps = [...new Set(samples.map(({ step }) => step))].sort((a, b) => a - b);
  const sheets = h('div.sample-sheets');
  const text = h('output', {});
  const slider = h('input', { type: 'range', min: '0', max: String(steps.length - 1), value: String(steps.length - 1),
    'aria-label': 'Step of the samples', oninput: () => show() });
  function show() {
    const step = steps[Number(slider.value)];
    // What was drawn comes before maps of it.
    const now = samples.filter((each) => each.step === step).sort((a, b) => rank(a) - rank(b));
    // Images that stay in place change without a flash.
    while (sheets.children.length > now.length) sheets.lastChild.remove();
    while (sheets.children.length < now.length) sheets.append(h('figure', {}, h('img.sample-sheet'), h('figcaption.fine')));
    now.forEach(({ name, image }, index) => {
      const [picture, caption] = sheets.children[index].children;
      picture.src = image;
      picture.alt = `${name ?? 'samples'} of ${part} after ${step} steps`;
      caption.textContent = now.length > 1 ? plain(name ?? '') : '';
    });
    text.textContent = `step ${number(step)}`;
    slider.setAttribute('aria-valuetext', text.textContent);
  }
  // Neighbours are fetched ahead, so that the slider moves without gaps.
  for (const each of samples.slice(-12)) new Image().src = each.image;
  box.replaceChildren(h('h3', {}, 'Samples'), sheets, h('div.pair.sample-slider', {}, slider, text));
  show();
}
