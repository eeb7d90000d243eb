// A real program as load: about 100 MB of objects, of which each round changes
// one per cent and then checkpoints. digest() walks everything and compares it
// with what the changes so far must have made of it; call it after any restart.
// Set loadNodes or loadRounds before it is run to make it smaller.
globalThis.load ??= { nodes: [], total: 0, round: 0, seed: 1 };

{ // a block, so that the file can be run again
  const count = globalThis.loadNodes ?? 180000;
  const rounds = globalThis.loadRounds ?? 100;
  const run = 60; // neighbours that change together

  // A generator whose state is part of the load, so that it goes on with it.
  const random = (n) => {
    load.seed = (Math.imul(load.seed, 1664525) + 1013904223) >>> 0;
    return load.seed % n;
  };

  const weigh = (node) => {
    let h = node.id ^ node.version;
    for (let i = 0; i < node.text.length; i += 7) h = (Math.imul(h, 31) + node.text.charCodeAt(i)) >>> 0;
    for (const v of node.values) h = (Math.imul(h, 31) + v) >>> 0;
    return (h + node.tags.size * 7 + (node.peer === null ? 0 : node.peer.id)) >>> 0;
  };

  const fill = (node) => {
    node.text = `node ${node.id} version ${node.version} `.repeat(2 + random(4));
    node.values = Array.from({ length: 4 + random(8) }, (_, i) => node.id + i * node.version);
    node.tags = new Map([[`round ${load.round}`, node.version]]);
    node.peer = load.nodes.length > 0 ? load.nodes[random(load.nodes.length)] : null;
    node.weight = weigh(node);
  };

  globalThis.digest = () => {
    let total = 0;
    for (const node of load.nodes) {
      const w = weigh(node);
      if (w !== node.weight) throw new Error(`round ${load.round}: node ${node.id} weighs ${w}, was ${node.weight}`);
      total = (total + w) % 4294967296;
    }
    if (total !== load.total) throw new Error(`round ${load.round}: all nodes weigh ${total}, want ${load.total}`);
    return `round ${load.round} nodes ${load.nodes.length} digest ${total.toString(16)}`;
  };

  while (load.nodes.length < count) {
    const node = { id: load.nodes.length, version: 0 };
    fill(node);
    load.total = (load.total + node.weight) % 4294967296;
    load.nodes.push(node);
  }
  await checkpoint();
  console.log(`built: ${digest()}`);

  while (load.round < rounds) {
    load.round++;
    for (let changed = 0; changed < count / 100; changed += run) {
      const first = random(count - run);
      for (let i = first; i < first + run; i++) {
        const node = load.nodes[i];
        load.total = (load.total - node.weight + 4294967296) % 4294967296;
        node.version++;
        fill(node);
        load.total = (load.total + node.weight) % 4294967296;
      }
    }
    await checkpoint();
    console.log(`round ${load.round} of ${rounds} at epoch ${epoch()}`);
  }
  console.log(digest());
}
