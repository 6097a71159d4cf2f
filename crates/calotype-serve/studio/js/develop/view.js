/* What the tray shows, in one place: prompt chips, words, pictures and scrubber all draw from this and change only this. */

/**
 * @typedef {object} Row a word that can be shown on the pictures
 * @property {string} label
 * @property {(string|null)[]} words what it is called in each picture
 * @property {(number|null)[]} indices which word of each picture it is
 * @property {(number|null)[]} shares
 * @property {boolean} changed whether the pictures' prompts differ here
 *
 * @typedef {object} Developing a job that runs
 * @property {object|null} beside the picture that it will be compared with
 */

/** @returns {{state: object, set: function(object), on: function(string[], function())}} */
export function createView() {
  const listeners = [];
  const state = {
    /** Finished pictures in the tray, one to four. */
    pictures: [],
    /** @type {Developing|null} */
    developing: null,
    /** Two pictures of one noise, the older first. */
    compare: false,
    /** Which one alone is shown, or all. */
    solo: null,
    /** @type {Row[]} */
    rows: [],
    /** Row under the pointer or the focus, and the one that a click keeps. */
    hovered: null,
    pinned: null,
    /** Step of the sampler from 1, or null for the finished print. */
    step: null,
    /** A place of the picture that is asked about: {x, y} in [0, 1) and which picture. */
    spot: null,
  };

  /** @param {object} change */
  function set(change) {
    const changed = Object.keys(change).filter((key) => state[key] !== change[key]);
    Object.assign(state, change);
    for (const { keys, action } of listeners) {
      if (keys.some((key) => changed.includes(key))) action();
    }
  }

  return {
    state,
    set,
    on(keys, action) { listeners.push({ keys, action }); },
  };
}

/** The row that is shown: what is pointed at wins over what is kept. */
export const shownRow = ({ hovered, pinned }) => hovered ?? pinned;
