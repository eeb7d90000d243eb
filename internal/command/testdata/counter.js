// The script of the kill test. The state of n steps is a function of n alone,
// and inconsistent between the statements of a step, so that verify() sees every
// mixture of two steps.
globalThis.n = 0;
globalThis.index = new Map();
globalThis.recent = [];
globalThis.sum = 0n;
globalThis.tree = null;

const insert = (t, key) => t === null ? { key, left: null, right: null }
  : key < t.key ? { ...t, left: insert(t.left, key) } : { ...t, right: insert(t.right, key) };
const size = (t) => t === null ? 0 : 1 + size(t.left) + size(t.right);
const scatter = (i) => (i * 2654435761) % 4294967296;

globalThis.step = () => {
  n++;
  index.set(n % 512, { n, text: `entry ${n} `.repeat(1 + n % 40), bytes: new Uint8Array(n % 3000).fill(n) });
  recent.push(() => n);
  if (recent.length > 100) recent = recent.slice(1);
  sum += BigInt(n);
  tree = n % 256 === 1 ? insert(null, scatter(n)) : insert(tree, scatter(n));
  return n;
};

globalThis.verify = () => {
  const want = (what, got, expected) => {
    if (got !== expected) throw new Error(`after ${n} steps ${what} is ${got}, want ${expected}`);
  };
  want('sum', sum, BigInt(n) * BigInt(n + 1) / 2n);
  want('size of index', index.size, Math.min(n, 512));
  want('length of recent', recent.length, Math.min(n, 100));
  want('size of tree', size(tree), n === 0 ? 0 : (n - 1) % 256 + 1);
  for (const f of recent) want('a closure', f(), n);
  for (let i = Math.max(1, n - 511); i <= n; i++) {
    const e = index.get(i % 512);
    want(`entry ${i}`, e.n, i);
    want(`text of ${i}`, e.text, `entry ${i} `.repeat(1 + i % 40));
    want(`length of ${i}`, e.bytes.length, i % 3000);
    if (e.bytes.length > 0) want(`last byte of ${i}`, e.bytes[e.bytes.length - 1], i % 256);
  }
  return n;
};
