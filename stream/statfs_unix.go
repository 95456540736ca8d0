//go:build linux || darwin || freebsd

package stream

import "golang.org/x/sys/unix"

// statfs returns what an unprivileged process may still write, and the size.
func statfs(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	block := int64(st.Bsize) //nolint:unconvert // an int64 on some systems only
	return int64(st.Bavail) * block, int64(st.Blocks) * block, nil
}
