// Package endure tests a store over its life: a program that keeps its state in
// one is killed again and again, with kill -9, while it creates, opens,
// recovers, checkpoints and closes, and copies are taken all the while. It
// holds tests only; make crash-kill runs them for hours.
//
// The state at each epoch is a function of a seed and the epoch: how many pages
// there are, which of them change, and every byte of them. So whoever opens the
// store or a copy of it knows what must be there, and a mixture of two epochs
// equals none.
//
// What it does not do: lose what was not synced. After a kill the page cache is
// whole; power cuts are the business of package crash.
package endure
