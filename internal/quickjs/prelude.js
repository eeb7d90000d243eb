// Evaluated once in the life of a store; what it defines lives in the store
// from then on. So a change to what the bridge takes or returns needs a new
// bridgeVersion in vm.go.
(function (print, hostEpoch, request, promiseState, promiseResult) {
  'use strict';
  // Scripts may replace any built-in; the bridge goes on with these.
  const { Promise, Map, Set, WeakSet, Error, Symbol, Date, RegExp, String, JSON, isNaN } = globalThis;
  const { getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf, defineProperty, is } = Object;
  const { ownKeys, apply } = Reflect;
  const { stringify } = JSON;
  const { isArray } = Array;
  const { isView } = ArrayBuffer;
  const then = Promise.prototype.then;
  const functionText = Function.prototype.toString;
  const unhandled = new Map();
  const { get: mapGet, set: mapSet, delete: mapDelete, clear: mapClear, forEach: mapForEach } = Map.prototype;
  // bare makes v inherit nothing: neither a setter nor a toJSON of a script's.
  const bare = (v) => setPrototypeOf(v, null);

  // ---- inspect: any value as one line ----

  const MAX_DEPTH = 4, MAX_ITEMS = 100;

  const key = (k) => typeof k === 'symbol' ? `[${String(k)}]` : /^[A-Za-z_$][\w$]*$/.test(k) ? k : stringify(k);

  function inspect(v, depth = 0, seen = new Set()) {
    switch (typeof v) {
      case 'string': return stringify(v);
      case 'bigint': return `${v}n`;
      case 'number': return is(v, -0) ? '-0' : String(v);
      case 'function': return describeFunction(v);
      case 'object': break;
      default: return String(v);
    }
    if (v === null) return 'null';
    if (seen.has(v)) return '[Circular]';
    if (v instanceof Error) return `[${headline(v)}]`;
    if (v instanceof Date) return isNaN(v) ? 'Invalid Date' : v.toISOString();
    if (v instanceof RegExp) return String(v);
    const name = className(v);
    if (depth > MAX_DEPTH) return `[${name || 'Object'}]`;
    seen.add(v);
    try {
      return inspectObject(v, name, (x) => inspect(x, depth + 1, seen));
    } finally {
      seen.delete(v);
    }
  }

  function describeFunction(f) {
    const kind = /^class\b/.test(apply(functionText, f, [])) ? 'class' : 'Function';
    return `[${kind}${f.name ? (kind === 'class' ? ' ' : ': ') + f.name : ''}]`;
  }

  function className(v) {
    const proto = getPrototypeOf(v);
    if (proto === null) return '[Object: null prototype]';
    const name = proto.constructor?.name;
    return typeof name === 'string' ? name : '';
  }

  function inspectObject(v, name, show) {
    const state = v instanceof Promise ? promiseState(v) : -1;
    if (state === 0) return 'Promise { <pending> }';
    if (state > 0) return `Promise { ${state === 2 ? '<rejected> ' : ''}${show(promiseResult(v))} }`;
    if (v instanceof Map) return group(`Map(${v.size}) `, '{}', items(v, ([k, x]) => `${show(k)} => ${show(x)}`, v.size));
    if (v instanceof Set) return group(`Set(${v.size}) `, '{}', items(v, show, v.size));
    const list = isArray(v) || (isView(v) && v.length !== undefined);
    const parts = list ? items(v, show, v.length) : [];
    let more = 0;
    for (const k of ownKeys(v)) {
      if (list && (k === 'length' || /^\d+$/.test(String(k)))) continue;
      const d = getOwnPropertyDescriptor(v, k);
      if (!d?.enumerable) continue;
      if (parts.length >= MAX_ITEMS) { more++; continue; }
      parts.push(`${key(k)}: ${d.get ? (d.set ? '[Getter/Setter]' : '[Getter]') : d.set ? '[Setter]' : show(d.value)}`);
    }
    if (more) parts.push(`... ${more} more`);
    if (list) return group(isArray(v) && name === 'Array' ? '' : `${name}(${v.length}) `, '[]', parts);
    return group(name === 'Object' || !name ? '' : `${name} `, '{}', parts);
  }

  function items(iterable, show, count) {
    const parts = [];
    for (const x of iterable) {
      if (parts.length === MAX_ITEMS) { parts.push(`... ${count - MAX_ITEMS} more`); break; }
      parts.push(show(x));
    }
    return parts;
  }

  const group = (prefix, [open, close], parts) =>
    prefix + (parts.length ? `${open} ${parts.join(', ')} ${close}` : open + close);

  function headline(e) {
    const { name, message } = e;
    return message ? `${name}: ${message}` : String(name);
  }

  // What a thrown value looks like on stderr.
  function describe(e, depth = 0) {
    if (!(e instanceof Error)) return depth ? inspect(e) : `Uncaught ${inspect(e)}`;
    let text = headline(e);
    const stack = typeof e.stack === 'string' ? e.stack.trimEnd() : '';
    if (stack) text += '\n' + stack;
    if (e.cause !== undefined && depth < MAX_DEPTH) text += `\n  cause: ${describe(e.cause, depth + 1)}`;
    return text;
  }

  function safely(show, v) {
    try {
      return show(v);
    } catch {
      return '<a value that can not be shown>';
    }
  }

  // ---- what scripts see ----

  function format(args) {
    let line = '';
    for (let i = 0; i < args.length; i++) {
      const v = args[i];
      line += (i ? ' ' : '') + (typeof v === 'string' ? v : safely(inspect, v));
    }
    return line;
  }
  const out = (...args) => { print(1, format(args)); };
  const err = (...args) => { print(2, format(args)); };
  const define = (name, value) =>
    defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  define('console', { log: out, info: out, debug: out, warn: err, error: err });
  define('epoch', () => hostEpoch());
  let waiting = bare([]);
  define('checkpoint', () => new Promise((resolve, reject) => {
    waiting[waiting.length] = { resolve, reject };
    request();
  }));

  // ---- the bridge: what the host calls ----

  let current; // the input that is being evaluated: {id, state, value}

  const bridge = {
    // track makes promise, the completion of an input, the current one.
    track(id, promise) {
      const input = { id, state: 'pending', value: undefined };
      current = input;
      // then asks the promise for its constructor, which scripts may have replaced.
      defineProperty(promise, 'constructor', bare({ value: undefined }));
      apply(then, promise, [
        (result) => { input.state = 'done'; input.value = result.value; },
        (reason) => {
          input.state = 'failed';
          input.value = reason;
          // Settled too late for its own outcome: nobody else would say so.
          if (current !== input) print(2, safely(describe, reason));
        },
      ]);
    },
    // unfinished names the input that a checkpoint was taken in the middle of.
    unfinished: () => current === undefined ? '' : current.id,
    // outcome ends the current input.
    outcome() {
      const errors = bare([]);
      apply(mapForEach, unhandled, [(reason) => { errors[errors.length] = safely(describe, reason); }]);
      apply(mapClear, unhandled, []);
      const input = current ?? { state: 'done', value: undefined };
      current = undefined;
      const text = input.state === 'done' ? safely(inspect, input.value)
        : input.state === 'failed' ? safely(describe, input.value) : 'Promise { <pending> }';
      return stringify(bare({ state: input.state, text, errors }));
    },
    describe: (e) => safely(describe, e),
    // settle answers every checkpoint() so far.
    settle(number, failure) {
      const list = waiting;
      waiting = bare([]);
      for (let i = 0; i < list.length; i++) {
        if (failure === '') list[i].resolve(number);
        else list[i].reject(new Error(failure));
      }
    },
    rejection(promise, reason, handled) {
      if (handled) apply(mapDelete, unhandled, [promise]);
      else apply(mapSet, unhandled, [promise, reason]);
    },
  };
  return (op, a, b, c) => bridge[op](a, b, c);
})
