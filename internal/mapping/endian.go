package mapping

// Formats here are little-endian and are read through native words of shared
// memory: a big-endian build must not compile. The name below is defined for
// the little-endian architectures only, in endian_little.go.
const _ = littleEndianOnly
