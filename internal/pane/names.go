package pane

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom/internal/blob"
)

// FileInfo describes a stored file.
type FileInfo = blob.Info

// Name is what the path of a stored file tells.
type Name struct {
	Where
	Kind string // raw, pane, expired, registry, audit, snapshot, list, manifest
	Seq  uint64 // the number in the name: of a manifest the next sequence
}

// ParseName reads the path of a file that put has named, such as
// g1/p0/e3/raw-17-abc.parquet; ok is false for any other.
func ParseName(path string) (n Name, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 {
		return n, false
	}
	var numbers [3]uint64
	for i, letter := range "gpe" {
		digits, found := strings.CutPrefix(parts[i], string(letter))
		v, err := strconv.ParseUint(digits, 10, 64)
		if !found || err != nil {
			return n, false
		}
		numbers[i] = v
	}
	words := strings.SplitN(parts[3], "-", 3)
	if len(words) != 3 {
		return n, false
	}
	seq, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil || numbers[0] > 1<<32-1 || numbers[1] > 1<<31-1 {
		return n, false
	}
	n = Name{Where{uint32(numbers[0]), int(numbers[1]), numbers[2]}, words[0], seq}
	return n, path == n.path(words[2])
}

func (n Name) path(rest string) string {
	return fmt.Sprintf("%se%d/%s-%d-%s", prefix(n.Generation, n.Partition), n.Epoch, n.Kind, n.Seq, rest)
}
