// A heap of objects that refer to each other, and requests that replace some.
globalThis.seed = 1;
globalThis.random = (n) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed % n;
};
globalThis.make = (id) => ({
  id,
  text: `order ${id} of customer ${random(100000)} `.repeat(4),
  lines: Array.from({ length: 8 }, (_, i) => ({ article: random(5000), amount: i })),
  tags: new Map([["state", "open"], ["version", random(1000)]]),
});
globalThis.orders = Array.from({ length: count }, (_, id) => make(id));
globalThis.request = () => {
  for (let i = 0; i < 20; i++) {
    const id = random(count);
    orders[id] = make(id);
  }
  return orders[random(count)].text.length;
};
