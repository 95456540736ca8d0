//go:build !unix

package natsd

// lock does nothing where there is no flock: cmd/gridloom's own lock on the data directory stands.
type lock struct{}

func lockDir(string) (*lock, error) { return &lock{}, nil }

func (l *lock) release() error { return nil }
