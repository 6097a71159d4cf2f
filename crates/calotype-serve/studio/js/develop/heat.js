/* Maps as colour: a cell of the latent becomes a smooth patch of light over a grey picture. */

/**
 * Light, from none to most: the dark of the room, a safelight's red, its amber, the white of a flame. The page multiplies a grey
 * picture with it, so that a map lights what is there instead of covering it.
 */
const STOPS = [[0, 98, 92, 89], [0.14, 116, 62, 50], [0.4, 206, 78, 28], [0.66, 252, 156, 54], [0.88, 255, 214, 122],
  [1, 255, 240, 200]];

const table = new Uint8ClampedArray(256 * 3);
for (let value = 0; value < 256; value += 1) {
  const at = value / 255;
  const next = Math.max(1, STOPS.findIndex(([stop]) => stop >= at));
  const [low, ...from] = STOPS[next - 1];
  const [high, ...to] = STOPS[next];
  const share = (at - low) / (high - low);
  for (let channel = 0; channel < 3; channel += 1) table[value * 3 + channel] = from[channel] + share * (to[channel] - from[channel]);
}

/**
 * The value of a map at a place, bilinear between the cells' centres.
 * @param {Uint8Array} map row by row
 * @param {number} width @param {number} height of the grid
 * @param {number} x @param {number} y in [0, 1]
 */
export function sample(map, width, height, x, y) {
  const u = Math.min(width - 1, Math.max(0, x * width - 0.5));
  const v = Math.min(height - 1, Math.max(0, y * height - 0.5));
  const left = Math.floor(u);
  const top = Math.floor(v);
  const right = Math.min(left + 1, width - 1);
  const bottom = Math.min(top + 1, height - 1);
  const above = map[top * width + left] * (1 - (u - left)) + map[top * width + right] * (u - left);
  const below = map[bottom * width + left] * (1 - (u - left)) + map[bottom * width + right] * (u - left);
  return above * (1 - (v - top)) + below * (v - top);
}

/**
 * Paints a map into a canvas, whatever the canvas's size.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} map @param {number} width @param {number} height of the grid
 */
export function paintHeat(canvas, map, width, height) {
  const context = canvas.getContext('2d');
  const image = context.createImageData(canvas.width, canvas.height);
  let at = 0;
  for (let row = 0; row < canvas.height; row += 1) {
    const y = (row + 0.5) / canvas.height;
    for (let column = 0; column < canvas.width; column += 1) {
      const value = Math.round(sample(map, width, height, (column + 0.5) / canvas.width, y)) * 3;
      image.data[at] = table[value];
      image.data[at + 1] = table[value + 1];
      image.data[at + 2] = table[value + 2];
      image.data[at + 3] = 255;
      at += 4;
    }
  }
  context.putImageData(image, 0, 0);
}
