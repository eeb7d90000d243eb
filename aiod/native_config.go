package aiod

// NativeConfig says what a server in native mode is given.
type NativeConfig struct {
	Control uintptr // descriptor of the control socket
	Workers int     // requests carried out at once
}
