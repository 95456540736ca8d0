package pane

import "sync"

// maxFreeWriters bounds the writers that wait to be used: as many as write at once when
// a machine is busy with all partitions of an embedded start.
const maxFreeWriters = 4

// writerPool keeps writers and their memory. Unlike sync.Pool it does not empty itself
// at every collection: making a writer's memory anew took longer than using it.
type writerPool struct {
	mu   sync.Mutex
	free []*writer
}

func (p *writerPool) get() *writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return &writer{}
	}
	w := p.free[n-1]
	p.free = p.free[:n-1]
	return w
}

// put takes a writer back.
func (p *writerPool) put(w *writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < maxFreeWriters {
		p.free = append(p.free, w)
	}
}

// size returns the bytes of the files' buffers that the free writers hold.
func (p *writerPool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, w := range p.free {
		n += cap(w.encoder.out)
	}
	return n
}
