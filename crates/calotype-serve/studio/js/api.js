/* The server, asked: JSON in and out, its errors as errors, its token, and whether it is there at all. */

/** What the server refused, and why. */
class ApiError extends Error {
  constructor(status, { message, setting = null, hint = null } = {}, retryAfter = null) {
    super(message ?? `the server answered ${status}`);
    this.status = status;
    this.setting = setting;
    this.hint = hint;
    this.retryAfter = retryAfter;
  }
}

const watchers = new Set();
let askToken = null;
let asking = null;

/** Calls `watcher` with true or false whenever an answer, or none, came. @param {function(boolean)} watcher */
export function watchServer(watcher) { watchers.add(watcher); }

/** Who asks the person for the token; resolves when the server took it. @param {function(): Promise} ask */
export function onToken(ask) { askToken = ask; }

/**
 * One request.
 * @param {string} method
 * @param {string} path
 * @param {object|Blob|null} [body] an object is sent as JSON, a blob as it is
 * @param {{as?: 'json'|'buffer', signal?: AbortSignal, patience?: number}} [how]
 * @returns {Promise<any>} the answer, or null for 204
 * @throws {ApiError} status 0: the server cannot be reached
 */
export async function call(method, path, body = null, { as = 'json', signal, patience = 2 } = {}) {
  const plain = body instanceof Blob;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: body === null ? {} : { 'Content-Type': plain ? body.type || 'application/octet-stream' : 'application/json' },
      body: body === null ? undefined : plain ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw gone();
  }
  // What a proxy says of a server that is not there.
  if (answer.status === 502 || answer.status === 504) throw gone();
  watchers.forEach((watcher) => watcher(true));
  if (answer.status === 401 && askToken && path !== '/api/session') {
    asking ??= askToken().finally(() => { asking = null; });
    await asking;
    return call(method, path, body, { as, signal });
  }
  if (answer.status === 429 && method === 'GET' && patience > 0) {
    // Too many questions at once, as after a fast scroll: none of them is urgent.
    await new Promise((resolve) => { setTimeout(resolve, 1000 * (Number(answer.headers.get('Retry-After')) || 1)); });
    return call(method, path, body, { as, signal, patience: patience - 1 });
  }
  if (!answer.ok) throw await refusal(answer);
  if (answer.status === 204) return null;
  return as === 'buffer' ? answer.arrayBuffer() : answer.json();
}

function gone() {
  watchers.forEach((watcher) => watcher(false));
  return new ApiError(0, { message: 'The server does not answer.', hint: 'Is `calotype serve` still running?' });
}

async function refusal(answer) {
  const retryAfter = Number(answer.headers.get('Retry-After')) || null;
  const said = await answer.json().catch(() => ({}));
  return new ApiError(answer.status, said?.error ?? {}, retryAfter);
}

/** @param {string} path @param {object} [how] */
export const get = (path, how) => call('GET', path, null, how);
/** @param {string} path @param {object|Blob} body @param {object} [how] */
export const post = (path, body, how) => call('POST', path, body, how);
/** @param {string} path */
export const remove = (path) => call('DELETE', path);

/**
 * Follows a stream of events until its last one. The browser reconnects by itself and says which event it saw last.
 * @param {string} path
 * @param {Object<string, function(object)>} handlers by the event's name
 * @param {string[]} last events after which nothing comes
 * @returns {function()} stops following
 */
export function follow(path, handlers, last = ['done', 'failed', 'cancelled']) {
  const source = new EventSource(path);
  for (const name of new Set([...Object.keys(handlers), ...last])) {
    source.addEventListener(name, (event) => {
      // A connection that broke is an `error` too, but carries no data: the browser tries again.
      if (typeof event.data !== 'string') return;
      if (last.includes(name)) source.close();
      handlers[name]?.(JSON.parse(event.data || '{}'));
    });
  }
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    handlers.lost?.();
  };
  return () => source.close();
}
