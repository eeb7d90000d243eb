// Package memfs is a file system in memory that can crash. It knows what was
// synced and what was not, so a test can ask for any state that a power cut
// may leave behind (spec/crash.md section 2):
//
//   - Each 512-byte sector of an unsynced write is kept or lost on its own, in
//     no order; a sector written several times may hold any of its versions,
//     each as the page cache held it then. A sector itself is never torn, but
//     may be Garbage.
//   - The length is kept or lost apart from the bytes: a longer file may read
//     zero, a written byte may lie beyond a shorter end. Bytes that were
//     allocated and not written read zero.
//   - Creations, removals and renames wait for SyncDir. Those of one name stay
//     in their order, those of different names are independent; a rename is
//     one step. A removed file can come back with its old bytes. Under
//     Crash.Journal all of this, and cutting a file short, is one ordered
//     journal instead, which every successful Sync or SyncDir writes out.
//   - After a failed Sync (FailSync) reads still show the new bytes, but
//     they count as clean: the medium holds old or new of each sector, and a later
//     Sync that succeeds does not change that. Only writing them again does.
//     Under Crash.Journal not even that, where the bytes were the first of
//     their block: Renew has to come before it.
//
// Clone is the state after the death of the process: all bytes are there,
// synced or not, and nobody holds a lock. CrashClone is the state after a power
// cut. Both leave the original as it is and share its bytes until one of the
// two writes them, so they cost little and may be made in great numbers.
//
// What it does not do: symbolic links, owners, permissions, times. All names
// begin at one root, whether they have a leading slash or not. The time until a
// Sync is the only time at which bytes become durable; a state in which the
// system wrote some of them earlier is one of the choices of CrashClone.
package memfs
