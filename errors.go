package gridloom

import "errors"

// The five kinds of failure. Every error that crosses a package border wraps at
// most one of them; each edge (an MQTT answer, an HTTP status, a partition's
// loop) translates kinds in one table.
var (
	// ErrInvalid is input that will never be accepted: reject it, keep it, go on.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound is something that does not exist, which the caller may have expected.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable may pass by itself: keep what was taken and try again later.
	ErrUnavailable = errors.New("unavailable")
	// ErrFenced means that another owner holds the partition: drop all its state.
	ErrFenced = errors.New("fenced")
	// ErrCorrupt is stored data that is not what was written: name it, touch nothing.
	ErrCorrupt = errors.New("corrupt")
)
