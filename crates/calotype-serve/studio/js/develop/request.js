/* Settings of a run: those that have a knob, and those that only a repeated run brings. */

/** Settings with a knob of their own; prompt and seed have theirs elsewhere. */
export const KNOBS = ['steps', 'guidance', 'width', 'height', 'sampler', 'schedule', 'negative'];

/** Others that decide how a picture looks, with the value that says nothing. */
const EXTRAS = {
  eta: 0, clip_skip: 0, long_prompt: false, plain_prompt: false, rng: 'philox', compat: null, true_cfg: null, guidance_rescale: 0,
  guidance_interval: null, vae_tiling: false,
};

/** What a run says beside the knobs, for repeating it. @param {object} request @returns {object} */
export function extrasOf(request) {
  return Object.fromEntries(Object.entries(EXTRAS)
    .filter(([key, nothing]) => (request[key] ?? nothing) !== nothing)
    .map(([key]) => [key, request[key]]));
}

/** Everything of a run but its words and its noise: what an edit must leave as it was. @param {object} request */
export function settingsOf(request) {
  const knobs = KNOBS.filter((key) => request[key] !== undefined && request[key] !== null).map((key) => [key, request[key]]);
  return { ...Object.fromEntries(knobs), ...extrasOf(request) };
}
