package sim

import (
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest"
)

// bridge is an ingest process.
type bridge struct {
	w       *world
	name    string
	step    gridloom.Millis // its clock against the world's
	machine *ingest.Machine // nil while it is down
	links   []*link
	frames  []*ingest.Frame // being stored, by lane
}

func newBridge(w *world, i int) *bridge {
	return &bridge{w: w, name: fmt.Sprintf("ingest%d", i)}
}

func (b *bridge) now() gridloom.Millis { return b.w.now + b.step }

func (b *bridge) start() {
	m, err := ingest.NewMachine(ingest.BridgeConfig{Partitions: partitions, Generation: generation, Now: b.now})
	if err != nil {
		b.w.fail("%s does not start: %v", b.name, err)
	}
	b.machine, b.frames = m, make([]*ingest.Frame, m.Lanes())
	b.w.note("%s starts", b.name)
}

// crash ends the process. What it was storing may be on its way to the log already.
func (b *bridge) crash() {
	b.w.stats.Crashes++
	b.w.note("%s crashes", b.name)
	for _, f := range b.frames {
		if f != nil && f.Partition >= 0 && b.w.chance(300) {
			p, data := f.Partition, append([]byte(nil), f.Data...)
			b.w.comesLate(func() { b.w.log.store(p, data) })
		}
	}
	b.machine, b.frames = nil, nil
	for len(b.links) > 0 {
		b.links[0].drop()
	}
}

// seal turns what has gathered in a lane into a frame.
func (b *bridge) seal(lane int) bool {
	f, ok := b.machine.Seal(lane)
	if ok {
		b.frames[lane] = &f
		b.w.note("%s seals a frame of lane %d", b.name, lane)
		if b.w.broken.early() {
			b.machine.Outcome(lane, nil)
			b.frames[lane] = nil
			if f.Partition >= 0 && b.w.rnd.IntN(10) > 0 {
				b.w.log.store(f.Partition, f.Data)
			}
		}
	}
	return ok
}

// store makes one attempt to store the frame of a lane.
func (b *bridge) store(lane int) bool {
	f := b.frames[lane]
	if f == nil {
		return false
	}
	var err error
	if f.Partition >= 0 {
		_, err = b.w.log.Append(b.w.ctx, f.Partition, f.Data)
	} else {
		b.w.stats.Refused += len(f.Rejects)
		if b.w.chance(b.w.rates.log) {
			err = errNetwork
		}
	}
	if err != nil && ingest.MayPass(err) && (b.w.calm || b.w.rnd.IntN(3) > 0) {
		return true // once more
	}
	b.machine.Outcome(lane, err)
	b.frames[lane] = nil
	if err != nil {
		b.w.note("%s gives the frame of lane %d up", b.name, lane)
	}
	return true
}
