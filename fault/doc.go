// Package fault finds the pages of an arena that were stored to, and owns the
// SIGSEGV handler that this takes.
package fault
