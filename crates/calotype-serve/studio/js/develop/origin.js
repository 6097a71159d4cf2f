/* Pictures that come in: to begin with, to be explained, or to have their run repeated. Dropped anywhere, or chosen. */
import { byId, h, iconButton } from '../dom.js';
import { post } from '../api.js';
import { dialog, notice } from '../dialogs.js';
import { paintMask } from './mask.js';

/** Larger pictures are made smaller before they are sent: no model here draws beyond it. */
const MOST_SIDE = 2048;

/**
 * @param {{repeat: function(object), explain: function(string), shape: function(number, number)}} on
 * @returns {{request: function(): object, begin: function(string): Promise, clear: function()}}
 */
export function createOrigin(on) {
  let image = null;
  let mask = null;
  let strength = 0.8;

  function show() {
    byId('drop').hidden = image !== null;
    byId('origin-panel').hidden = image === null;
    if (!image) return;
    const slider = h('input', { type: 'range', min: '0.05', max: '1', step: '0.05', value: String(strength), id: 'strength',
      oninput: () => { strength = Number(slider.value); shown.textContent = strength.toFixed(2); } });
    const shown = h('output', { htmlFor: 'strength' }, strength.toFixed(2));
    const thumbnail = h('canvas.origin-picture', { width: image.width, height: image.height, role: 'img',
      'aria-label': 'The picture to begin with' });
    const context = thumbnail.getContext('2d');
    context.drawImage(image, 0, 0);
    if (mask) {
      context.globalAlpha = 0.6;
      context.drawImage(tint(mask), 0, 0);
    }
    byId('origin-panel').replaceChildren(thumbnail,
      h('label.knob.wide', { htmlFor: 'strength' }, h('span', {}, 'Strength: how much changes'), h('span.pair', {}, slider, shown)),
      h('div.deeds', {},
        iconButton('brush', mask ? 'Change the mask' : 'Paint a mask', async () => {
          const painted = await paintMask(image, mask);
          if (painted !== undefined) {
            mask = painted;
            // What is painted anew is usually meant to be something else altogether.
            strength = mask ? 1 : 0.8;
          }
          show();
        }),
        iconButton('close', 'Begin from noise', clear)),
      h('p.fine', {}, mask ? 'Only the masked part is painted anew.' : 'With a mask only a part is painted anew.'));
  }

  function tint(canvas) {
    const copy = h('canvas', { width: canvas.width, height: canvas.height });
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    context.globalCompositeOperation = 'source-in';
    context.fillStyle = '#f2a24e';
    context.fillRect(0, 0, copy.width, copy.height);
    return copy;
  }

  function clear() {
    image = null;
    mask = null;
    show();
  }

  /** Takes a picture to begin with. @param {string} url */
  async function begin(url) {
    image = await loaded(url);
    mask = null;
    strength = 0.8;
    on.shape(image.width, image.height);
    show();
    byId('settings-fold').open = true;
    byId('origin').scrollIntoView({ block: 'nearest' });
  }

  async function receive(file) {
    if (!file?.type.startsWith('image/')) {
      notice('That is not a picture.', { hint: 'PNG, JPEG and WebP are read.', kind: 'error', key: 'drop', seconds: 6 });
      return;
    }
    const url = URL.createObjectURL(file);
    try {
      const record = file.type === 'image/png' ? await post('/api/records', file).catch(() => null) : null;
      const picture = h('img.incoming', { src: url, alt: 'The picture that you brought' });
      const choice = await dialog('A picture came in', [
        picture,
        record?.warnings?.length ? h('p.fine', {}, `Not everything can be repeated: ${record.warnings.join('; ')}`) : null,
        record ? h('p', {}, 'It records its run: ', h('q', {}, record.prompt ?? record.request?.prompt ?? ''), '.')
          : h('p.fine', {}, 'It records no run.'),
      ].filter(Boolean), [
        record ? h('button.main', { type: 'submit', value: 'repeat', autofocus: true }, 'Repeat its run') : null,
        h(record ? 'button.quiet' : 'button.main', { type: 'submit', value: 'begin', autofocus: !record }, 'Begin with it'),
        h('button.quiet', { type: 'submit', value: 'explain' }, 'Ask which words it shows'),
      ].filter(Boolean));
      if (choice === 'repeat') on.repeat(record);
      if (choice === 'begin') await begin(url);
      if (choice === 'explain') on.explain((await loaded(url)).toDataURL('image/png'));
    } catch {
      notice('This picture cannot be read.', { kind: 'error', key: 'drop', seconds: 6 });
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    document.body.classList.add('dragging');
  });
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) document.body.classList.remove('dragging'); });
  document.addEventListener('drop', (event) => {
    document.body.classList.remove('dragging');
    if (!carriesFile(event)) return;
    event.preventDefault();
    receive(event.dataTransfer.files[0]);
  });
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
    if (file) receive(file);
  });
  byId('choose').addEventListener('click', () => byId('file').click());
  byId('file').addEventListener('change', () => {
    receive(byId('file').files[0]);
    byId('file').value = '';
  });

  return {
    request: () => (image ? { init_image: image.toDataURL('image/png'), mask: mask && onBlack(mask).toDataURL('image/png'),
      strength } : null),
    begin,
    clear,
  };
}

/* What was painted, white on black: the server's mask. */
function onBlack(mask) {
  const canvas = h('canvas', { width: mask.width, height: mask.height });
  const context = canvas.getContext('2d');
  context.fillStyle = '#000';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(mask, 0, 0);
  return canvas;
}

async function loaded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const scale = Math.min(1, MOST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = h('canvas', { width: Math.max(1, Math.round(image.naturalWidth * scale)),
    height: Math.max(1, Math.round(image.naturalHeight * scale)) });
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}
