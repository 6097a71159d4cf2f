/* The mask: what is painted here is drawn anew, the rest stays. With a mouse, a pen, a finger, or the arrow keys. */
import { announce, h, iconButton } from '../dom.js';
import { dialog } from '../dialogs.js';

const MOST_UNDO = 40;

/**
 * Opens the painter.
 * @param {HTMLCanvasElement} image
 * @param {HTMLCanvasElement|null} before an earlier mask
 * @returns {Promise<HTMLCanvasElement|null|undefined>} white where something is painted; null: nothing is; undefined: leave it as it was
 */
export async function paintMask(image, before) {
  const { width, height } = image;
  const mask = h('canvas', { width, height });
  const paper = mask.getContext('2d');
  if (before) paper.drawImage(before, 0, 0);
  const view = h('canvas.mask-view', { width, height, tabIndex: 0, role: 'application',
    'aria-label': 'Mask. Arrow keys move the brush, Space paints, e changes between paint and eraser.' });
  const context = view.getContext('2d');
  const undone = [];
  let erase = false;
  let size = Math.max(2, Math.round(Math.max(width, height) / 8));
  let at = { x: width / 2, y: height / 2 };
  let painting = false;

  function draw() {
    context.globalCompositeOperation = 'source-over';
    context.globalAlpha = 1;
    context.drawImage(image, 0, 0);
    const tinted = h('canvas', { width, height });
    const ink = tinted.getContext('2d');
    ink.drawImage(mask, 0, 0);
    ink.globalCompositeOperation = 'source-in';
    ink.fillStyle = '#f2a24e';
    ink.fillRect(0, 0, width, height);
    context.globalAlpha = 0.62;
    context.drawImage(tinted, 0, 0);
    context.globalAlpha = 1;
    context.lineWidth = Math.max(width, height) / 260;
    for (const [style, extra] of [['#000', 0], ['#fff', context.lineWidth]]) {
      context.strokeStyle = style;
      context.beginPath();
      context.arc(at.x, at.y, Math.max(0.1, size / 2 - extra), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  const keep = () => {
    const copy = h('canvas', { width, height });
    copy.getContext('2d').drawImage(mask, 0, 0);
    undone.push(copy);
    if (undone.length > MOST_UNDO) undone.shift();
  };

  function stroke(from, to) {
    paper.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    paper.strokeStyle = '#fff';
    paper.lineCap = 'round';
    paper.lineWidth = size;
    paper.beginPath();
    paper.moveTo(from.x, from.y);
    // A dot is a line too short to see: round caps draw it.
    paper.lineTo(to.x + 0.01, to.y);
    paper.stroke();
    draw();
  }

  const where = (event) => {
    const box = view.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * width, y: ((event.clientY - box.top) / box.height) * height };
  };
  view.addEventListener('pointerdown', (event) => {
    view.setPointerCapture(event.pointerId);
    keep();
    painting = true;
    at = where(event);
    stroke(at, at);
  });
  view.addEventListener('pointermove', (event) => {
    const to = where(event);
    if (painting) stroke(at, to);
    at = to;
    draw();
  });
  const lift = () => { painting = false; };
  view.addEventListener('pointerup', lift);
  view.addEventListener('pointercancel', lift);
  view.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      const step = Math.max(1, size / 3);
      at = { x: Math.min(width, Math.max(0, at.x + by[0] * step)), y: Math.min(height, Math.max(0, at.y + by[1] * step)) };
      draw();
    } else if (event.key === ' ') {
      keep();
      stroke(at, at);
    } else if (event.key === 'e') {
      setErase(!erase);
    } else {
      return;
    }
    event.preventDefault();
  });

  const brush = h('input', { type: 'range', id: 'brush', min: '1', max: String(Math.round(Math.max(width, height) / 2)),
    value: String(size), oninput: () => { size = Number(brush.value); draw(); } });
  const eraser = iconButton('close', 'Eraser', () => setErase(!erase), { 'aria-pressed': 'false' });
  function setErase(value) {
    erase = value;
    eraser.setAttribute('aria-pressed', String(erase));
    announce(erase ? 'Eraser' : 'Brush');
  }
  const undo = () => {
    const last = undone.pop();
    if (!last) return;
    paper.globalCompositeOperation = 'copy';
    paper.drawImage(last, 0, 0);
    draw();
  };
  const clear = () => {
    keep();
    paper.clearRect(0, 0, width, height);
    draw();
  };
  draw();
  const answer = await dialog('What is painted anew', [
    view,
    h('div.mask-tools', {}, h('label', { htmlFor: 'brush' }, 'Brush'), brush, eraser, iconButton('undo', 'Undo', undo),
      iconButton('trash', 'Clear', clear)),
  ], [h('button.quiet', { type: 'submit', value: '' }, 'Leave it'), h('button.main', { type: 'submit', value: 'done' }, 'Done')],
    'wide mask');
  if (answer !== 'done') return undefined;
  const painted = paper.getImageData(0, 0, width, height).data.some((value, index) => index % 4 === 3 && value > 0);
  return painted ? mask : null;
}
