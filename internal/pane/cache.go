package pane

import (
	"container/list"
	"sync"
)

// cache keeps the bytes of files that were found whole, the least recently used
// of which go when they are more than max bytes. Safe for concurrent use.
type cache struct {
	mu    sync.Mutex
	max   int64
	bytes int64
	idle  int64                    // bytes that were put as they were written, since anybody has asked for a file
	files map[string]*list.Element // of *cached
	order list.List                // most recent first
}

type cached struct {
	path string
	crc  uint32
	data []byte
}

// get returns a file's bytes if the cache holds them with this crc.
func (c *cache) get(path string, crc uint32) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = 0
	e, ok := c.files[path]
	if !ok {
		return nil, false
	}
	f := e.Value.(*cached)
	if f.crc != crc {
		return nil, false
	}
	c.order.MoveToFront(e)
	return f.data, true
}

// wants reports whether put keeps a file of this size: not one that pushes out a quarter of the others.
func (c *cache) wants(size int) bool { return int64(size) <= c.max/4 }

// wantsWritten reports whether a file is worth keeping as it is written. Where nobody
// asks, as on a substation that only gathers, a quarter of the cache is enough.
func (c *cache) wantsWritten(size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > maxCachedWrite || !c.wants(size) || c.idle+int64(size) > c.max/4 {
		return false
	}
	c.idle += int64(size)
	return true
}

// put keeps a file's bytes if it wants them.
func (c *cache) put(path string, crc uint32, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(len(data))
	if _, ok := c.files[path]; ok || !c.wants(len(data)) {
		return
	}
	if c.files == nil {
		c.files = map[string]*list.Element{}
	}
	c.files[path] = c.order.PushFront(&cached{path, crc, data})
	c.bytes += size
	for c.bytes > c.max {
		c.dropLast()
	}
}

func (c *cache) dropLast() {
	e := c.order.Back()
	f := c.order.Remove(e).(*cached)
	delete(c.files, f.path)
	c.bytes -= int64(len(f.data))
}

func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
