// Goes on for ever: a run that was killed continues behind its await.
for (;;) {
  verify();
  step();
  await checkpoint();
  console.log(n);
}
